// The functions of one instruction set, for the files that are compiled once for each.
#pragma once

#include "backends/cpu/attention_block.h"
#include "backends/cpu/product.h"

namespace tandem::cpu::TANDEM_CPU_ISA {

ProductFn* FindBlockProduct(DType type, WeightLayout layout);  // null if the type has no blocks
ProductFn* FindPlainProduct(DType type);                       // null if it has, and for i32
MultiplyFn Multiply;
AddTileFn AddTile;
TransposeFn Transpose;
AddPanelTileFn AddPanelTile;
ScorePanelTileFn ScorePanelTile;
BlendPanelTileFn BlendPanelTile;

}  // namespace tandem::cpu::TANDEM_CPU_ISA
