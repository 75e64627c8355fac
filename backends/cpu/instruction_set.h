// The instruction sets that the inner loops are compiled for.
#pragma once

#include <span>
#include <string_view>

#include "backends/cpu/attention_block.h"
#include "backends/cpu/product.h"

namespace tandem::cpu {

// The inner loops for one instruction set; a later one contains those before it. Block products
// give the same bits with each of them; f32 sums are taken in an order that depends on the vector
// length.
struct InstructionSet {
  std::string_view name;  // "avx2", as asked for by a device name such as "cpu:avx2"
  std::string_view description;
  bool (*is_present)();  // on this processor, and enabled by the operating system
  ProductFn* (*find_block_product)(DType type, WeightLayout layout);
  ProductFn* (*find_plain_product)(DType type);
  MultiplyFn* multiply;
  AddTileFn* add_tile;
  TransposeFn* transpose;
  AddPanelTileFn* add_panel_tile;
  ScorePanelTileFn* score_panel_tile;
  BlendPanelTileFn* blend_panel_tile;

  // For every type but i32.
  ProductFn* FindProduct(DType type, WeightLayout layout = WeightLayout::kRows) const {
    ProductFn* plain = find_plain_product(type);
    return plain != nullptr ? plain : find_block_product(type, layout);
  }
};

// From the oldest to the newest.
std::span<const InstructionSet> InstructionSets();

}  // namespace tandem::cpu
