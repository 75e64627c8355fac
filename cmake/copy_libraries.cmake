# Copies the shared libraries that a program, and what they need in turn, take from the distribution
# and that other machines may lack, into a folder.
#   cmake -DPROGRAM=bin/tandem -DFOLDER=bin -P copy_libraries.cmake
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES "${PROGRAM}"
  RESOLVED_DEPENDENCIES_VAR libraries UNRESOLVED_DEPENDENCIES_VAR missing
  POST_INCLUDE_REGEXES "/lib(absl|tbb)[^/]*$" POST_EXCLUDE_REGEXES ".*"
  DIRECTORIES /usr/lib /usr/lib/x86_64-linux-gnu)
foreach(library IN LISTS libraries)
  file(COPY "${library}" DESTINATION "${FOLDER}" FOLLOW_SYMLINK_CHAIN)
endforeach()
