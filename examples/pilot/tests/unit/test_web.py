import unittest

from deskline import web


class Web(unittest.TestCase):
    def test_every_path_of_the_app_is_answered_by_the_page(self) -> None:
        for path in ("/", "/tickets/new", "/tickets/3"):
            self.assertEqual("index.html", web.static_file(path).name)

    def test_no_file_outside_of_the_static_folder_is_served(self) -> None:
        self.assertEqual("style.css", web.static_file("/style.css").name)
        for path in ("/../web.py", "//etc/passwd", "/nothing.css"):
            self.assertIsNone(web.static_file(path))

    def test_the_page_learns_the_address_of_the_api(self) -> None:
        expected = 'window.DESK = {"name": "Desk", "api": "http://localhost:81"};\n'
        self.assertEqual(expected, web.config_script("Desk", "http://localhost:81/"))
