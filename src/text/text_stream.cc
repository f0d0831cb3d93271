#include "text/text_stream.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace updraft::text {
namespace {

// Length of the longest end of `text` that begins `stop` without being all of it.
size_t begun(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.ends_with(stop.substr(0, length))) return length;
  }
  return 0;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, Options options)
    : options_(std::move(options)), decoder_(tokenizer.make_decoder(options_.skip_special)) {
  std::erase(options_.stop, std::string());
}

std::string TextStream::push(TokenId id) {
  if (stopped_) return "";
  decoder_->push(id, pending_);
  return release(false);
}

std::string TextStream::finish() {
  if (stopped_) return "";
  decoder_->finish(pending_);
  return release(true);
}

bool TextStream::stopped() const { return stopped_; }
const std::string& TextStream::stop_string() const { return stop_string_; }

std::string TextStream::release(bool finished) {
  size_t stop_begin = 0, stop_end = std::string::npos;
  for (const std::string& stop : options_.stop) {
    const size_t from = searched_ >= stop.size() ? searched_ - stop.size() + 1 : 0;
    const size_t begin = pending_.find(stop, from);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stop.size();
    if (end < stop_end || (end == stop_end && begin < stop_begin)) {
      stop_begin = begin;
      stop_end = end;
      stop_string_ = stop;
    }
  }
  if (stop_end != std::string::npos) {
    stopped_ = true;
    if (options_.include_stop) {
      if (!finished) decoder_->finish(pending_);
    } else {
      pending_.resize(stop_begin);
    }
    return std::exchange(pending_, {});
  }
  size_t held = 0;
  if (!finished) {
    for (const std::string& stop : options_.stop) held = std::max(held, begun(pending_, stop));
  }
  std::string certain = pending_.substr(0, pending_.size() - held);
  pending_.erase(0, certain.size());
  searched_ = pending_.size();
  return certain;
}

}  // namespace updraft::text
