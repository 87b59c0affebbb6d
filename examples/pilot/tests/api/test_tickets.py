import json
import threading

from deskline import database, seed, settings, worker
from tests.api.desk import DeskTest


class Tickets(DeskTest):
    def setUp(self) -> None:
        super().setUp()
        self.sign_in()

    def test_the_newest_open_ticket_stands_first_and_closed_ones_last(self) -> None:
        numbers = [self.new_ticket(subject)["id"] for subject in ("first", "second", "third")]
        self.call("POST", f"/tickets/{numbers[2]}/close")
        self.assertEqual(["second", "first", "third"], self.subjects())

    def test_a_ticket_without_subject_is_refused_and_not_kept(self) -> None:
        status, answer = self.call("POST", "/tickets", {"description": "It is so."})
        self.assertEqual((400, {"error": "Please fill in the subject."}), (status, answer))
        self.assertEqual([], self.subjects())

    def test_a_reply_is_shown_under_its_ticket(self) -> None:
        number = self.new_ticket("printer")["id"]
        ticket = self.call("POST", f"/tickets/{number}/messages", {"reply": "On my way."})[1]
        self.assertEqual([("Eve Tester", "On my way.")], [(m["author"], m["body"]) for m in ticket["messages"]])

    def test_what_is_not_there_is_said_so(self) -> None:
        self.assertEqual((404, {"error": "There is no ticket 99."}), self.call("GET", "/tickets/99"))
        self.assertEqual(404, self.call("GET", "/nowhere")[0])
        self.assertEqual(400, self.call("POST", "/tickets", ["no object"])[0])

    def test_the_worker_answers_a_new_ticket_once_and_is_alive_while_it_works(self) -> None:
        number = self.new_ticket("printer")["id"]
        with database.opened(self.path) as db:
            self.assertFalse(worker.alive(db))
            worker.beat(db)
            self.assertTrue(worker.alive(db))
            self.assertEqual([number, None], [worker.answer_next(db), worker.answer_next(db)])
        messages = self.call("GET", f"/tickets/{number}")[1]["messages"]
        self.assertEqual([settings.NAME], [message["author"] for message in messages])

    def test_a_worker_that_stops_takes_its_heartbeat_away(self) -> None:
        stop = threading.Event()
        stop.set()
        with database.opened(self.path) as db:
            worker.beat(db)
        worker.work(self.path, stop)
        with database.opened(self.path) as db:
            self.assertFalse(worker.alive(db))


class Seed(DeskTest):
    def test_seeding_twice_adds_nothing_the_second_time(self) -> None:
        data = json.loads(seed.SEED.read_text())
        self.assertEqual(len(data["users"]) + len(data["tickets"]), seed.fill(self.path, data))
        self.assertEqual(0, seed.fill(self.path, data))
        self.assertEqual([], database.migrate(self.path))
