# Writes the device sources as text into a C++ file, for kernel_sources.h.
#   cmake -DFOLDER=backends/cuda/kernels -DOUTPUT=kernel_sources_data.cc -P embed_sources.cmake
file(GLOB_RECURSE files RELATIVE "${FOLDER}" "${FOLDER}/*.cuh" "${FOLDER}/*.h")
list(SORT files)
set(text "#include \"backends/cuda/kernel_sources.h\"\n\nnamespace tandem::cuda {\n\n")
string(APPEND text "std::span<const SourceFile> KernelSources() {\n  static const SourceFile files[] = {\n")
foreach(file IN LISTS files)
  file(READ "${FOLDER}/${file}" source)
  # The compiler knows them by their names in the folder.
  string(REPLACE "#include \"../" "#include \"" source "${source}")
  string(APPEND text "{\"${file}\", R\"~(${source})~\"},\n")
endforeach()
string(APPEND text "  };\n  return files;\n}\n\n}  // namespace tandem::cuda\n")
file(WRITE "${OUTPUT}" "${text}")
