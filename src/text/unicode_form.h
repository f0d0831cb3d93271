// The four Unicode normalization forms, by utf8proc's character data. Linear in the length of the text, whatever it is.
// Source: Unicode Standard Annex #15.
#pragma once

#include <string>

#include "text/normalizer.h"

namespace updraft::text {

void to_unicode_form(std::string& valid_utf8, UnicodeForm);

}  // namespace updraft::text
