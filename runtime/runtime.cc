// Replaced when the first real file of this folder arrives.
