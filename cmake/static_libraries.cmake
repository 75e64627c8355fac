# TANDEM_STATIC_LIBRARIES: programs for a machine that has none of our libraries. Distributions ship
# archives beside the shared libraries that their CMake packages name, so each imported library is
# exchanged for the archive next to it; oneTBB, which has none, is copied beside the programs.

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
  if(target MATCHES "^absl::")
    get_target_property(configurations ${target} IMPORTED_CONFIGURATIONS)
    foreach(configuration IN LISTS configurations)
      get_target_property(library ${target} IMPORTED_LOCATION_${configuration})
      tandem_archive_of("${library}" archive)
      if(archive)
        set_target_properties(${target} PROPERTIES IMPORTED_LOCATION_${configuration} "${archive}")
      endif()
    endforeach()
  elseif(target MATCHES "^PkgConfig::")
    get_target_property(libraries ${target} INTERFACE_LINK_LIBRARIES)
    set(archives "")
    foreach(library IN LISTS libraries)
      tandem_archive_of("${library}" archive)
      list(APPEND archives $<IF:$<BOOL:${archive}>,${archive},${library}>)
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES "${archives}")
  endif()
endforeach()

add_link_options(-static-libstdc++ -static-libgcc $<$<CONFIG:Release>:-s>)
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH "$ORIGIN")

add_custom_target(tandem_copy_tbb ALL
  COMMAND ${CMAKE_COMMAND} -E copy_if_different
    $<TARGET_FILE:TBB::tbb> ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/$<TARGET_SONAME_FILE_NAME:TBB::tbb>
  VERBATIM)
