#include "backends/conformance/run_case.h"

#include <algorithm>
#include <span>
#include <utility>

#include "backends/conformance/bind.h"
#include "backends/device/layout.h"
#include "backends/device/status.h"

namespace tandem {

bool PrefersOtherLayouts(const Device& device, const Case& the_case) {
  for (KernelArgs args : the_case.calls) {
    for (const TensorView* weight : WeightsOf(args)) {
      if (device.PreferredLayout(args, *weight) != WeightLayout::kRows) return true;
    }
  }
  return false;
}

absl::StatusOr<CaseRun> CaseRun::Create(Device& device, const Case& the_case,
                                        bool preferred_layouts) {
  for (const KernelArgs& args : the_case.calls) {
    const absl::Status supported = device.Supports(args);
    if (!supported.ok()) return absl::UnimplementedError(supported.message());
  }
  CaseRun run(device, the_case);
  for (const Storage& storage : the_case.storage) {
    Piece piece;
    piece.before = storage.bytes;
    piece.writable.resize(storage.bytes.size());
    piece.host = storage.bytes.data();
    TANDEM_RETURN_IF_ERROR(run.AddPiece(std::move(piece)));
  }
  for (const KernelArgs& args : the_case.calls) {
    for (const TensorView& view : Writes(args)) run.MarkWritable(view);
  }
  if (preferred_layouts) run.ArrangeWeights();
  TANDEM_RETURN_IF_ERROR(run.Prepare());
  return run;
}

void CaseRun::ArrangeWeights() {
  for (KernelArgs& args : calls_) {
    for (TensorView* weight : WeightsOf(args)) {
      const WeightLayout layout = device_->PreferredLayout(args, *weight);
      const int rank = weight->shape.rank;
      const int64_t groups = rank == 3 ? weight->dim(0) : 1;
      Piece& piece = PieceOf(weight->data);
      for (int64_t g = 0; g < groups; ++g) {
        const std::byte* first = rank == 3 ? weight->row(g) : weight->row();
        ArrangeInPlace(layout, weight->dtype, RowBytes(weight->dtype, weight->shape.back()),
                       weight->dim(rank - 2), piece.before.data() + (first - piece.host));
      }
      weight->layout = layout;
    }
  }
}

absl::Status CaseRun::AddPiece(Piece piece) {
  const int64_t alignment = device_->info().alignment;
  piece.offset = (kGuardBytes + alignment - 1) / alignment * alignment - kGuardBytes;
  const auto bytes = static_cast<int64_t>(piece.before.size());
  TANDEM_ASSIGN_OR_RETURN(piece.buffer, device_->Allocate(piece.offset + bytes));
  piece.after.resize(bytes);
  pieces_.push_back(std::move(piece));
  return absl::OkStatus();
}

absl::Status CaseRun::AddWorkspace(Call& call) {
  const int64_t bytes = device_->WorkspaceBytes(call.args);
  if (bytes < 0) return absl::InternalError(absl::StrCat("WorkspaceBytes is ", bytes));
  if (bytes == 0) return absl::OkStatus();
  Piece piece;
  piece.before.resize(bytes + 2 * kGuardBytes);
  piece.writable.resize(piece.before.size());
  std::fill_n(piece.writable.begin() + kGuardBytes, bytes, true);
  TANDEM_RETURN_IF_ERROR(AddPiece(std::move(piece)));
  call.workspace = {pieces_.back().device() + kGuardBytes, bytes};
  return absl::OkStatus();
}

absl::Status CaseRun::Prepare() {
  Program program;
  for (const KernelArgs& args : calls_) {
    Call call = {.args = args, .name = std::string(KernelName(GetKernelId(args)))};
    Rebind(call.args, [this](const void* address) -> void* {
      Piece& piece = PieceOf(address);
      return piece.device() + (static_cast<const std::byte*>(address) - piece.host);
    });
    TANDEM_RETURN_IF_ERROR(AddWorkspace(call));
    program.calls.push_back(std::move(call));
  }
  program.results.emplace();
  for (const Output& output : case_->outputs) {
    TensorView result = output.view;
    result.data = PieceOf(result.data).device() +
                  (static_cast<const std::byte*>(result.data) - PieceOf(result.data).host);
    program.results->push_back(result);
  }
  TANDEM_ASSIGN_OR_RETURN(stream_, device_->CreateStream());
  auto executable = device_->Prepare(std::move(program));
  // Supports said yes, so this is a failure and no refusal.
  if (!executable.ok()) {
    return absl::InternalError(
        absl::StrCat("Supports agrees but Prepare fails: ", executable.status().message()));
  }
  executable_ = *std::move(executable);
  for (Piece& piece : pieces_) piece.frozen = FrozenRanges(piece.writable);
  return absl::OkStatus();
}

CaseRun::Piece& CaseRun::PieceOf(const void* address) {
  return *std::ranges::find_if(pieces_, [address](const Piece& piece) {
    return piece.host != nullptr && address >= piece.host &&
           address < piece.host + piece.before.size();
  });
}

void CaseRun::MarkWritable(const TensorView& view) {
  Piece& piece = PieceOf(view.data);
  const int64_t bytes = RowBytes(view.dtype, view.shape.back());
  const int64_t d0 = view.shape.rank > 1 ? view.dim(0) : 1;
  const int64_t d1 = view.shape.rank > 2 ? view.dim(1) : 1;
  const int64_t d2 = view.shape.rank > 3 ? view.dim(2) : 1;
  for (int64_t i = 0; i < d0 * d1 * d2; ++i) {
    const std::byte* row = view.row(i / (d1 * d2), i / d2 % d1, i % d2);
    std::fill_n(piece.writable.begin() + (row - piece.host), bytes, true);
  }
}

absl::Status CaseRun::Run(std::byte workspace_fill) {
  for (Piece& piece : pieces_) {
    if (piece.host == nullptr) std::ranges::fill(piece.before, workspace_fill);
    TANDEM_RETURN_IF_ERROR(
        stream_->CopyIn(piece.device(), piece.before.data(), piece.before.size()));
  }
  TANDEM_RETURN_IF_ERROR(executable_->Run(*stream_));
  for (Piece& piece : pieces_) {
    TANDEM_RETURN_IF_ERROR(
        stream_->CopyOut(piece.after.data(), piece.device(), piece.after.size()));
  }
  TANDEM_RETURN_IF_ERROR(stream_->Synchronize());
  return CheckUntouched();
}

std::vector<CaseRun::Range> CaseRun::FrozenRanges(const std::vector<bool>& writable) {
  std::vector<Range> ranges;
  auto begin = std::find(writable.begin(), writable.end(), false);
  while (begin != writable.end()) {
    const auto end = std::find(begin, writable.end(), true);
    ranges.push_back({begin - writable.begin(), end - writable.begin()});
    begin = std::find(end, writable.end(), false);
  }
  return ranges;
}

absl::Status CaseRun::CheckUntouched() const {
  for (const Piece& piece : pieces_) {
    for (const auto [begin, end] : piece.frozen) {
      const auto range = std::span(piece.before).subspan(begin, end - begin);
      const auto changed = std::ranges::mismatch(range, std::span(piece.after).subspan(begin)).in1;
      if (changed == range.end()) continue;
      return absl::InternalError(absl::StrCat(
          "writes byte ", begin + (changed - range.begin()) - kGuardBytes,
          piece.host == nullptr ? " of a workspace of " : " of a tensor's memory of ",
          static_cast<int64_t>(piece.before.size()) - 2 * kGuardBytes, ", which is no output"));
    }
  }
  return absl::OkStatus();
}

const std::byte* CaseRun::After(const void* address) const {
  const Piece& piece = const_cast<CaseRun*>(this)->PieceOf(address);
  return piece.after.data() + (static_cast<const std::byte*>(address) - piece.host);
}

}  // namespace tandem
