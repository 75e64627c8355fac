// One case on one device.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/conformance/case.h"
#include "backends/device/device.h"

namespace tandem {

// True if the device wants some weight of the case in another layout than rows.
bool PrefersOtherLayouts(const Device& device, const Case& the_case);

// A case made ready on a device, in memory of that device.
class CaseRun {
 public:
  // Unimplemented if the device refuses a call. Both the case and the device must outlive the run.
  // `preferred_layouts`: weights lie as the device prefers, else in rows.
  static absl::StatusOr<CaseRun> Create(Device& device, const Case& the_case,
                                        bool preferred_layouts = false);

  // Sets all memory, runs the calls and keeps what the memory holds afterwards. Workspaces are
  // filled with `workspace_fill` first. Internal, naming the place, if a byte changed that is no
  // output of the calls.
  absl::Status Run(std::byte workspace_fill);

  // The bytes at the place of an address of the case's storage, after the last run.
  const std::byte* After(const void* address) const;

 private:
  // Bytes [begin, end) of a piece.
  struct Range {
    int64_t begin, end;
  };
  struct Piece {
    const std::byte* host = nullptr;  // address in the case; null for a workspace
    std::vector<std::byte> before, after;
    std::vector<bool> writable;  // for each byte
    std::vector<Range> frozen;   // runs of bytes that are not writable
    std::unique_ptr<Buffer> buffer;
    int64_t offset = 0;  // of the image in the buffer, for alignment
    std::byte* device() const { return static_cast<std::byte*>(buffer->data()) + offset; }
  };

  CaseRun(Device& device, const Case& the_case)
      : device_(&device), case_(&the_case), calls_(the_case.calls) {}
  absl::Status AddPiece(Piece piece);
  void ArrangeWeights();
  absl::Status AddWorkspace(Call& call);
  absl::Status Prepare();
  void MarkWritable(const TensorView& view);
  static std::vector<Range> FrozenRanges(const std::vector<bool>& writable);
  Piece& PieceOf(const void* address);
  absl::Status CheckUntouched() const;

  Device* device_;
  const Case* case_;
  std::vector<KernelArgs> calls_;  // those of the case, with the layouts of this run
  std::vector<Piece> pieces_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Executable> executable_;
};

}  // namespace tandem
