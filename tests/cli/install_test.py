#!/usr/bin/env python3
"""The C++ API as a stranger uses it: cmake --install into a prefix, find_package(updraft), build and run the example."""
import os
import pathlib
import re
import shutil
import subprocess
import unittest

import support
from support import run_ok


class Install(unittest.TestCase):
    def step(self, *command):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=600,
                              env=support.clean_environment())
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_example(self):
        build = pathlib.Path(support.PROGRAM).parent
        cache = (build / "CMakeCache.txt").read_text()
        cmake = re.search(r"CMAKE_COMMAND:INTERNAL=(.*)", cache).group(1)
        compiler = re.search(r"CMAKE_CXX_COMPILER:\w+=(.*)", cache).group(1)
        sanitizers = re.search(r"UPDRAFT_SANITIZE:\w+=(.*)", cache).group(1)
        flags = f"-fsanitize={sanitizers}" if sanitizers else ""
        if not (build / "libupdraft_library.a").exists():
            self.skipTest("the C++ library is not built (target updraft_library)")
        with support.temporary_folder() as folder:
            prefix = folder / "prefix"
            self.step(cmake, "--install", build, "--prefix", prefix)
            self.assertIn("updraft", self.step(prefix / "bin" / "updraft", "--version"))
            # A copy: nothing of the source tree may be needed but the installed files.
            shutil.copytree(support.SOURCE / "examples", folder / "examples")
            self.step(cmake, "-S", folder / "examples", "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
                      f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCMAKE_CXX_FLAGS={flags}", "-DCMAKE_BUILD_TYPE=Release")
            self.step(cmake, "--build", folder / "build")
            headers = (prefix / "include" / "updraft" / "updraft.h").read_text()
            self.assertNotIn("nlohmann", headers, "the public header needs the standard library only")
            model = support.make_chat_model(folder)
            answer = self.step(folder / "build" / "chat_once", model, "你好")
            expected = run_ok("generate", model, "--chat", "你好", "--max-new-tokens", 64).stdout
            text, statistics = answer.rsplit("\n[", 1)
            self.assertEqual(text + "\n", expected)
            self.assertRegex(statistics, r"^\d+ tokens, (length|eos), [\d.]+ tokens/s\]\n$")
            missing = subprocess.run([folder / "build" / "chat_once", "/no/such/model", "x"], capture_output=True,
                                     text=True)
            self.assertEqual(missing.returncode, 1)
            self.assertIn("/no/such/model", missing.stderr)


if __name__ == "__main__":
    support.main()
