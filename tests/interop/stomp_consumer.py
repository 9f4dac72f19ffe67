"""A consumer by stomp.py: python stomp_consumer.py HOST PORT DESTINATION ack|hold. Says "ready", and then the body of every
message, once it has acknowledged it or decided to hold it. It ends when it is killed."""

import sys
import threading

import stomp

HOST, PORT, DESTINATION, ACKNOWLEDGES = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "ack"


class Consumer(stomp.ConnectionListener):
    def on_message(self, frame):
        if ACKNOWLEDGES:
            connection.ack(frame.headers["ack"])
        print(frame.body, flush=True)

    def on_receipt(self, frame):
        print("ready", flush=True)

    def on_error(self, frame):
        print("ERROR", frame.headers["message"], frame.body, flush=True)


connection = stomp.Connection12([(HOST, PORT)])
connection.set_listener("consumer", Consumer())
connection.connect(wait=True)
connection.subscribe(DESTINATION, id="1", ack="client-individual", receipt="subscribed")
threading.Event().wait()
