# TANDEM_STATIC_LIBRARIES: programs for a machine that has none of our libraries. Distributions ship
# archives beside the shared libraries that their CMake packages name, so each of PkgConfig's imported
# libraries is exchanged for the archive next to it. oneTBB, which has none, and Abseil, whose archives
# cannot be linked into plugins, are copied beside the programs.

# The archive beside a shared library: /lib/libx.so.1.2 gives /lib/libx.a, if there is one.
function(tandem_archive_of library result)
  string(REGEX REPLACE "\\.so[0-9.]*$" ".a" archive "${library}")
  if(EXISTS "${archive}")
    set(${result} "${archive}" PARENT_SCOPE)
  else()
    set(${result} "" PARENT_SCOPE)
  endif()
endfunction()

get_property(imported DIRECTORY PROPERTY IMPORTED_TARGETS)
foreach(target IN LISTS imported)
  if(target MATCHES "^PkgConfig::")
    get_target_property(libraries ${target} INTERFACE_LINK_LIBRARIES)
    set(archives "")
    foreach(library IN LISTS libraries)
      tandem_archive_of("${library}" archive)
      list(APPEND archives $<IF:$<BOOL:${archive}>,${archive},${library}>)
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES "${archives}")
  endif()
endforeach()

# RPATH, not RUNPATH: it also finds what the copied libraries need in turn.
add_link_options(-static-libstdc++ -static-libgcc -Wl,--disable-new-dtags $<$<CONFIG:Release>:-s>)
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH "$ORIGIN")

# After the tool is there.
function(tandem_copy_libraries program)
  add_custom_target(tandem_copy_libraries ALL
    COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:${program}>
      -DFOLDER=${CMAKE_RUNTIME_OUTPUT_DIRECTORY} -P ${PROJECT_SOURCE_DIR}/cmake/copy_libraries.cmake
    DEPENDS ${program} VERBATIM)
endfunction()
