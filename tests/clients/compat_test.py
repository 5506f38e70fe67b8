"""The checker of docs/compat.md names each planted fault, and passes a page without one."""

import tempfile
import pathlib
import unittest

import compat

BOXES = {"2.1.1": "produce: order"}
TABLE = "| box | rule | here | shown by |\n|---|---|---|---|\n"
GOOD = "| 2.1.1 | order | served, `produce.rs` | `order_of_the_checks`; `tests/run kcat`; `groups:static-member` |"
EXIST = {("unit", "order_of_the_checks"), ("kcat", None), ("groups", "static-member"), (None, "broker/src/api/produce.rs")}


def faults(*rows, ran=None, table=TABLE, boxes=BOXES):
    return compat.judge(table + "\n".join(rows) + "\n", boxes, lambda suite, name: (suite, name) in EXIST, ran)


class Compat(unittest.TestCase):
    def one_fault(self, words, *rows, **given):
        found = faults(*rows, **given)
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def test_a_page_without_a_fault_passes(self):
        self.assertEqual(faults(GOOD), [])
        self.assertEqual(faults(GOOD, ran=lambda suite, name: True), [])

    def test_a_box_without_a_row(self):
        self.one_fault("box 2.1.2 (acks) has no row", GOOD, boxes={**BOXES, "2.1.2": "acks"})

    def test_a_row_of_a_box_that_is_not_there(self):
        self.one_fault("there is no box 9.9.9", GOOD.replace("2.1.1", "2.1.1, 9.9.9"))

    def test_served_without_a_test(self):
        self.one_fault("no test is named", "| 2.1.1 | order | served | no test yet |")
        self.one_fault("no test is named", "| 2.1.1 | order | served | `broker/src/api/produce.rs` |")

    def test_different_without_a_reason(self):
        self.one_fault("no reason is given", "| 2.1.1 | order | different | `order_of_the_checks` |")
        self.one_fault("no reason is given", "| 2.1.1 | order | does not arise: no | |")

    def test_different_with_a_reason_needs_no_test(self):
        self.assertEqual(faults("| 2.1.1 | order | different: acknowledgement waits for durability | |"), [])

    def test_not_yet_only_with_what_comes_later(self):
        self.one_fault("not yet, and with none of", "| 2.1.1 | order | not yet: nobody wrote it | |")
        self.assertEqual(faults("| 2.1.1 | order | not yet: transactions | |"), [])

    def test_words_that_say_nothing(self):
        self.one_fault("begins with none of", "| 2.1.1 | order | sometimes | `order_of_the_checks` |")

    def test_a_test_that_does_not_exist(self):
        self.one_fault("unit:no_such_test does not exist", GOOD.replace("order_of_the_checks", "no_such_test"))
        self.one_fault("tests/run nosuch does not exist", GOOD.replace("run kcat", "run nosuch"))
        self.one_fault("groups:other does not exist", GOOD.replace("static-member", "other"))
        self.one_fault("neither a test nor a file", GOOD.replace("`groups:", "`no/file.rs`; `groups:"))

    def test_a_test_that_did_not_run(self):
        self.one_fault("unit:order_of_the_checks did not run", GOOD, ran=lambda suite, name: suite != "unit")
        self.one_fault("tests/run kcat did not run", GOOD, ran=lambda suite, name: suite != "kcat")
        self.one_fault("groups:static-member did not run", GOOD, ran=lambda suite, name: suite != "groups")

    def test_the_first_of_a_page_must_be_a_table_of_rules(self):
        self.assertIn("there is no table of rules", faults(table="none\n", boxes={}))

    def test_columns_that_are_others(self):
        self.assertIn("the columns are", faults(table="| rule | here | shown by |\n|---|---|---|\n", boxes={})[0])
        self.one_fault("3 cells instead of 4", GOOD, "| 2.1.1 | order | served |")

    def test_what_ran_is_read_from_the_files_of_the_suites_that_passed(self):
        with tempfile.TemporaryDirectory() as directory:
            (pathlib.Path(directory) / "unit").write_text("a_test\nb_test\n")
            (pathlib.Path(directory) / "kcat").write_text("")
            ran = compat.ran_in(directory)
        self.assertTrue(ran("unit", "a_test") and ran("kcat", None))
        self.assertFalse(ran("unit", "c_test") or ran("java", None) or ran("java", "x") or ran("kcat", "x"))


if __name__ == "__main__":
    unittest.main()
