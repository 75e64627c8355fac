#include "tools/interrupt.h"

#include <signal.h>

#include <atomic>

#include "runtime/session.h"

namespace tandem {
namespace {

// Signal handlers have no argument for what they belong to, so these are the tool's only globals.
std::atomic<Session*> g_session = nullptr;
std::atomic<bool> g_interrupted = false;
static_assert(std::atomic<Session*>::is_always_lock_free);

void OnInterrupt(int) {
  g_interrupted.store(true);
  if (Session* session = g_session.load()) session->Cancel();
}

void SetHandler(void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace

InterruptScope::InterruptScope(Session& session) {
  g_interrupted.store(false);
  g_session.store(&session);
  SetHandler(&OnInterrupt, SA_RESTART | static_cast<int>(SA_RESETHAND));
}

InterruptScope::~InterruptScope() {
  SetHandler(SIG_DFL, 0);
  g_session.store(nullptr);
}

bool InterruptScope::interrupted() const { return g_interrupted.load(); }

}  // namespace tandem
