#!/usr/bin/env python3
"""Tests of scripts/conformance: above all that it fails when it should. Run by `make test`."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent / "conformance"
TABLE = """\
# A table

| ID | Level | Requirement | Check |
|---|---|---|---|
| RE-A-01 | MUST | It is so | unit |
| RE-A-02 | MUST | It is `a` \\| `b` | unit |
| RE-A-03 | MAY | It may | unit |
| RE-B-01 | MUST | Other | unit |

| ID | Topic | RFC places | Problem | Recommended choice | Check |
|---|---|---|---|---|---|
| S6-N-1 | Numbers | 1 | Two | Take one | unit |
"""
TESTS = """\
fn helper() {} // RE-B-01 is not cited: this is no test

/// RE-A-03 neither
#[cfg(test)]
mod tests {
    /// Shows RE-A-01 to RE-A-02.
    #[test]
    fn first() {
        // S6-N-1
    }
}

// RE-B-01 still not
"""


class Conformance(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        subprocess.run(["git", "init", "-q", self.root], check=True)
        self.write("docs/requirements/table.md", TABLE)
        self.write("src/lib.rs", TESTS)
        self.except_for('"RE-A-03", "RE-B-01"')

    def write(self, name, text):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def except_for(self, ids, reason="later"):
        self.write("docs/conformance-exceptions.toml", f'[[exception]]\nids = [{ids}]\nreason = "{reason}"\n')

    def run_script(self, *options):
        done = subprocess.run([sys.executable, SCRIPT, "--root", self.root, *options], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def check(self):
        """Write the report, then check; what the check says."""
        self.run_script()
        return self.run_script("--check")

    def assert_fails(self, *words):
        code, said = self.check()
        self.assertEqual(code, 1, said)
        for word in words:
            self.assertIn(word, said)

    def test_passes_when_every_requirement_has_a_test_or_an_exception(self):
        self.assertEqual(self.check(), (0, "conformance: 5 requirements, 3 with tests, 2 excepted, 0 open\n"))
        report = (self.root / "docs/conformance.md").read_text()
        self.assertIn("| RE-A-01 | MUST | It is so | `src/lib.rs:first` |", report)
        self.assertIn("| RE-A-02 | MUST | It is `a` \\| `b` | `src/lib.rs:first` |", report)
        self.assertIn("| S6-N-1 | DECIDE | Numbers: Take one | `src/lib.rs:first` |", report)
        self.assertIn("| RE-B-01 | MUST | Other | not tested: later |", report)

    def test_fails_when_the_report_is_stale_or_missing(self):
        self.assertIn("stale", self.run_script("--check")[1])
        self.check()
        self.write("src/lib.rs", TESTS.replace("fn first", "fn renamed"))
        code, said = self.run_script("--check")
        self.assertEqual(code, 1)
        self.assertIn("stale", said)

    def test_fails_when_a_citation_names_no_requirement(self):
        self.write("tests/more.rs", "// RE-A-99\n#[test]\nfn more() {}\n")
        self.assert_fails("tests/more.rs:1: no requirement RE-A-99")
        self.write("tests/more.rs", "// RE-A-02 to RE-A-01\n#[test]\nfn more() {}\n")
        self.assert_fails("no requirement RE-A-02 to RE-A-01")

    def test_fails_when_an_exception_is_cited_too(self):
        self.except_for('"RE-A-*", "RE-B-01"')
        self.assert_fails("RE-A-01 is excepted, and yet src/lib.rs:first cites it")

    def test_fails_when_a_requirement_has_neither(self):
        self.except_for('"RE-B-01"')
        self.assert_fails("RE-A-03 has neither")
        self.assertEqual(self.run_script("--list-open"), (0, "RE-A-03\n"))

    def test_fails_when_an_exception_is_wrong(self):
        self.except_for('"RE-A-03", "RE-B-01", "RE-Z-*"')
        self.assert_fails("RE-Z-* is no requirement")
        self.except_for('"RE-A-03", "RE-B-01", "RE-B-01"')
        self.assert_fails("RE-B-01 is excepted twice")
        self.except_for('"RE-A-03", "RE-B-01"', reason=" ")
        self.assert_fails("a `reason`")

    def test_fails_when_the_citing_test_is_ignored(self):
        self.write("tests/more.rs", "#[test]\n#[ignore]\nfn more() {\n    // RE-A-01\n}\n")
        self.assert_fails("an ignored test shows nothing")

    def test_fails_when_a_table_has_an_id_twice(self):
        self.write("docs/requirements/table.md", TABLE + "\n| RE-A-01 | again |\n")
        self.assert_fails("RE-A-01 stands there twice")

    def test_fails_when_there_are_no_tables(self):
        self.write("docs/requirements/table.md", "")
        self.assert_fails("no requirements")

    def test_lists_open_ones_in_ranges_that_exceptions_take(self):
        self.write("src/lib.rs", "")
        self.except_for('"S6-N-1"')
        self.assertEqual(self.run_script("--list-open"), (0, "RE-A-01..RE-A-03\nRE-B-01\n"))
        self.except_for('"S6-N-1", "RE-A-01..RE-A-03", "RE-B-01"')
        self.assertEqual(self.check()[0], 0)


if __name__ == "__main__":
    unittest.main()
