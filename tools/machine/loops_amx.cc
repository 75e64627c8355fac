#include <immintrin.h>

#include "tools/machine/loops.h"

namespace tandem::machine {
namespace {

// Operand of ldtilecfg (Intel 64 manual, volume 1, section 18.3): all eight tiles are 16 rows of 64
// bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Tiles 4 and 5 are left operands, 6 and 7 right ones, all zero: no product takes longer for it.
void ClearTiles() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
}

float TakeTile() {
  alignas(64) float tile[256];
  _tile_stored(0, tile, 64);
  _tile_release();
  return tile[0];
}

}  // namespace

float Int8Amx(int64_t turns) {
  const TileConfig config;
  _tile_loadconfig(&config);
  ClearTiles();
  for (int64_t turn = 0; turn < turns; ++turn) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  return TakeTile();
}

float Bf16Amx(int64_t turns) {
  const TileConfig config;
  _tile_loadconfig(&config);
  ClearTiles();
  for (int64_t turn = 0; turn < turns; ++turn) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return TakeTile();
}

}  // namespace tandem::machine
