// Pre-tokenizers: cut a normalized stretch of text into the words that the merges never cross. One class per component
// of tokenizer.json, chained: each step cuts (or changes) the pieces of the step before it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "text/regex.h"
#include "text/scanners.h"

namespace updraft::text {

// Called with every piece in order. A piece is valid UTF-8, not empty, and lives during the call only; `first`: it
// begins where the whole text begins.
using PieceSink = FunctionRef<void(std::string_view piece, bool first)>;

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void split(std::string_view text, bool first, PieceSink) const = 0;
};
using PreTokenizers = std::vector<std::unique_ptr<const PreTokenizer>>;

void split(const PreTokenizers&, std::string_view text, bool first, PieceSink);

// What becomes of the stretches that a delimiter matches.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class PrependScheme { kFirst, kAlways, kNever };

// A scanner covers the whole text, so each of its matches is a piece.
std::unique_ptr<const PreTokenizer> make_scanner_split(Scanner);
std::unique_ptr<const PreTokenizer> make_regex_split(Regex, SplitBehavior, bool invert);
std::unique_ptr<const PreTokenizer> make_string_split(std::string delimiter, SplitBehavior, bool invert);
// Characters whose class byte (unicode.h) has one of `bits`, or whose category is White_Space.
std::unique_ptr<const PreTokenizer> make_class_split(uint8_t bits, SplitBehavior);
std::unique_ptr<const PreTokenizer> make_space_split();
// Runs of \w and runs of what is neither \w nor white space; white space is dropped.
std::unique_ptr<const PreTokenizer> make_word_split();
std::unique_ptr<const PreTokenizer> make_metaspace(std::string replacement, PrependScheme, bool split);
// Cuts before every `mark` that follows something else. For vocabularies without pre-tokenizer whose merges never cross
// such a place (Bpe::never_joins): the ids stay the same, and words can be remembered.
std::unique_ptr<const PreTokenizer> make_boundary_split(std::string mark);
// A space before every piece that does not begin with one (ByteLevel's add_prefix_space).
std::unique_ptr<const PreTokenizer> make_prefix_space();

}  // namespace updraft::text
