#include "backends/cuda/tensor_maps.h"

#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cuda/kernels/params/tile_ring.h"
#include "backends/cuda/tile_unit.h"

namespace tandem::cuda {
namespace {

// Sizes, innermost first; strides are in bytes, from the second dimension on.
template <size_t kRank>
struct Boxes {
  CUtensorMapDataType type;
  CUtensorMapSwizzle swizzle;
  std::array<cuuint64_t, kRank> dims;
  std::array<cuuint64_t, kRank - 1> strides;
  std::array<cuuint32_t, kRank> box;
};

template <size_t kRank>
absl::StatusOr<TensorMap> Encode(EncodeTensorMap encode, const void* data,
                                 const Boxes<kRank>& boxes) {
  TensorMap result = {};
  if (encode == nullptr) return result;
  std::array<cuuint32_t, kRank> steps;
  steps.fill(1);
  CUtensorMap map;
  const CUresult status =
      encode(&map, boxes.type, kRank, const_cast<void*>(data), boxes.dims.data(),
             boxes.strides.data(), boxes.box.data(), steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
             boxes.swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    return absl::InternalError(absl::StrCat("cuTensorMapEncodeTiled: error ", status, " for [",
                                            boxes.dims[kRank - 1], ", ..., ", boxes.dims[0], "]"));
  }
  static_assert(sizeof(map) == sizeof(result));
  std::memcpy(&result, &map, sizeof(map));
  return result;
}

}  // namespace

absl::StatusOr<TensorMap> RowsMap(EncodeTensorMap encode, const void* data, int64_t columns,
                                  int64_t row_bytes, int64_t rows, int box_rows) {
  return Encode<2>(encode, data,
                   {.type = CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                    .swizzle = CU_TENSOR_MAP_SWIZZLE_128B,
                    .dims = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)},
                    .strides = {static_cast<cuuint64_t>(row_bytes)},
                    .box = {64, static_cast<cuuint32_t>(box_rows)}});
}

absl::StatusOr<TensorMap> WeightsMap(EncodeTensorMap encode, const void* data, DType type, int64_t k,
                                     int64_t panels, int box_panels) {
  const TileUnit unit = TileUnitOf(type);
  const int pieces = WeightPieces(unit.bytes);
  const auto piece_bytes = static_cast<cuuint64_t>(unit.bytes / pieces);
  const auto panel_pieces = static_cast<cuuint64_t>(k / (unit.tiles * kTileElements) * pieces);
  const int stage_pieces = WeightStageUnits(unit.tiles) * pieces;
  return Encode<3>(encode, data,
                   {.type = CU_TENSOR_MAP_DATA_TYPE_UINT32,
                    .swizzle = CU_TENSOR_MAP_SWIZZLE_NONE,
                    .dims = {piece_bytes / 4, panel_pieces, static_cast<cuuint64_t>(panels)},
                    .strides = {piece_bytes, piece_bytes * panel_pieces},
                    .box = {static_cast<cuuint32_t>(piece_bytes / 4),
                            static_cast<cuuint32_t>(stage_pieces),
                            static_cast<cuuint32_t>(box_panels)}});
}

}  // namespace tandem::cuda
