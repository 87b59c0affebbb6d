import unittest

from deskline import accounts


class Passwords(unittest.TestCase):
    def test_the_right_password_matches_its_hash_and_another_does_not(self) -> None:
        stored = accounts.hash_password("open sesame")
        self.assertTrue(accounts.password_matches("open sesame", stored))
        self.assertFalse(accounts.password_matches("open barley", stored))

    def test_one_password_gets_a_new_hash_each_time(self) -> None:
        self.assertNotEqual(accounts.hash_password("same"), accounts.hash_password("same"))
