import unittest

from deskline import tickets


class TextField(unittest.TestCase):
    def test_outer_blanks_are_left_out(self) -> None:
        self.assertEqual("Printer", tickets.text_field({"subject": "  Printer \n"}, "subject", 20))

    def test_a_missing_or_blank_text_is_refused_with_the_name_of_the_field(self) -> None:
        for data in ({}, {"subject": " "}, {"subject": 7}):
            with self.assertRaisesRegex(tickets.Invalid, "fill in the subject"):
                tickets.text_field(data, "subject", 20)

    def test_an_optional_text_may_be_empty(self) -> None:
        self.assertEqual("", tickets.text_field({}, "description", 20, optional=True))

    def test_a_text_over_the_limit_is_refused(self) -> None:
        with self.assertRaisesRegex(tickets.Invalid, "longer than 3"):
            tickets.text_field({"subject": "four"}, "subject", 3)
