from tests.api.desk import ORIGIN, DeskTest


class Sessions(DeskTest):
    def test_tickets_are_shown_only_while_signed_in(self) -> None:
        self.assertEqual(401, self.call("GET", "/tickets")[0])
        self.sign_in()
        self.assertEqual(200, self.call("GET", "/tickets")[0])
        token = self.cookie
        self.call("DELETE", "/session")
        self.cookie = token
        self.assertEqual(401, self.call("GET", "/tickets")[0])

    def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(self) -> None:
        answers = [
            self.call("POST", "/session", {"email": email, "password": "wrong"})
            for email in ("eve@example.com", "nobody@example.com")
        ]
        self.assertEqual(401, answers[0][0])
        self.assertEqual(answers[0], answers[1])

    def test_only_the_page_s_origin_may_call_with_the_cookie(self) -> None:
        self.call("OPTIONS", "/tickets")
        self.assertEqual(ORIGIN, self.headers["Access-Control-Allow-Origin"])
        self.assertEqual("true", self.headers["Access-Control-Allow-Credentials"])
        self.call("OPTIONS", "/tickets", origin="http://elsewhere.example")
        self.assertIsNone(self.headers["Access-Control-Allow-Origin"])
