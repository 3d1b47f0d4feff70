# The parts of FAISS that Ocelli calls. FAISS has no option for less than all of it, and all of it
# is some minutes of compiling. The build of `faiss-sys` reads this file as a CMake toolchain file
# (.cargo/config.toml), the one door that CMake opens to it.
#
# A name is missing here when linking `ocelli` fails with an undefined symbol of `faiss::`; then add
# the file that defines it.
include_guard(GLOBAL)

set(OCELLI_FAISS_PARTS
  # Of the library.
  Clustering.cpp
  Index.cpp
  IndexFlat.cpp
  IndexFlatCodes.cpp
  IndexRefine.cpp
  VectorTransform.cpp
  impl/AuxIndexStructures.cpp
  impl/CodePacker.cpp
  impl/FaissException.cpp
  impl/IDSelector.cpp
  impl/ProductQuantizer.cpp
  impl/kmeans1d.cpp
  utils/distances.cpp
  utils/distances_fused/distances_fused.cpp
  utils/distances_fused/simdlib_based.cpp
  utils/distances_simd.cpp
  utils/extra_distances.cpp
  utils/partitioning.cpp
  utils/random.cpp
  utils/sorting.cpp
  utils/utils.cpp
  # Of its C interface.
  Clustering_c.cpp
  IndexFlat_c.cpp
  Index_c.cpp
  VectorTransform_c.cpp
  error_impl.cpp
)

function(ocelli_leave_out_the_rest)
  foreach(target faiss faiss_c)
    if(TARGET ${target})
      get_target_property(sources ${target} SOURCES)
      set(rest ${sources})
      list(REMOVE_ITEM rest ${OCELLI_FAISS_PARTS})
      list(REMOVE_ITEM sources ${rest})
      set_target_properties(${target} PROPERTIES SOURCES "${sources}")
    endif()
  endforeach()
endfunction()

# At the end of the top folder's CMakeLists.txt, when the targets are known.
cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL ocelli_leave_out_the_rest)
