# cmake -DNM=program -DOBJECTS=list [-DNAMESPACE=cpu;avx2] -P inner_loops_stay_apart.cmake
#
# Looks at object files that are compiled for instructions that not every processor has. Of a weak
# symbol (a function template, an inline function) the linker keeps one copy for the whole program,
# whichever file it comes from: if these files defined one that others define too, programs could
# crash on older processors. They may define weak symbols in the namespace tandem::<NAMESPACE> alone,
# which nobody else uses; none at all without NAMESPACE.
cmake_minimum_required(VERSION 3.22)

if(NOT NM)
  message("skipped: there is no nm")
  return()
endif()

# An address for exceptions, the same data in all files, has code in none.
set(harmless "^DW\\.ref\\.")
# In mangled names each part of a namespace has its length before it (Itanium C++ ABI, 5.1.4).
# Static variables of functions, their guards and type information begin with further letters.
set(own "^_Z(GV|GR|T[VTIS])?Z*N[KVrRO]*6tandem")
foreach(part IN LISTS NAMESPACE)
  string(LENGTH "${part}" length)
  string(APPEND own "${length}${part}")
endforeach()

set(symbols 0)
set(leaks "")
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND "${NM}" --defined-only --format=posix "${object}"
    OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]+" lines "${output}")
  foreach(line IN LISTS lines)
    math(EXPR symbols "${symbols} + 1")
    string(REGEX MATCH "^([^ ]+) ([A-Za-z])" ignored "${line}")
    set(name "${CMAKE_MATCH_1}")
    set(type "${CMAKE_MATCH_2}")
    if(type MATCHES "^[WVwvu]$" AND NOT name MATCHES "${harmless}" AND
       NOT (NAMESPACE AND name MATCHES "${own}[0-9]"))
      string(APPEND leaks "\n  ${name} in ${object}")
    endif()
  endforeach()
endforeach()

if(symbols EQUAL 0)
  message(FATAL_ERROR "no symbol is defined in: ${OBJECTS}")
elseif(leaks)
  message(FATAL_ERROR "weak symbols that the rest of the program may get:${leaks}")
endif()
message("${symbols} symbols")
