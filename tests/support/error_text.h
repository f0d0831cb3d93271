// The sentence of the Error that an action throws; empty when it throws none. Other exceptions pass and fail the test.
#pragma once

#include <string>

#include "base/error.h"

namespace updraft::test {

template <class Action>
std::string error_text(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace updraft::test
