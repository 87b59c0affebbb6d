"""The paced bot session and the words of the chat."""
