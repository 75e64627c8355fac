// Writes the tiny model for tests of installed programs: write_tiny_model FOLDER TOKENIZER_JSON
#include <iostream>

#include "tests/tiny_model.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: write_tiny_model FOLDER TOKENIZER_JSON\n";
    return 2;
  }
  const absl::Status status = tandem::testing::WriteTinyModel(argv[1], argv[2]);
  if (!status.ok()) std::cerr << status << '\n';
  return status.ok() ? 0 : 1;
}
