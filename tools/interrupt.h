// Ctrl-C while a session generates.
#pragma once

namespace tandem {

class Session;

// While it lives, the first Ctrl-C cancels the session; after that, as before and after, Ctrl-C
// ends the process. One object at a time.
class InterruptScope {
 public:
  explicit InterruptScope(Session& session);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  bool interrupted() const;
};

}  // namespace tandem
