# Asks an agent over MQTT 5 and prints its answer. Needs: pip install paho-mqtt
# Usage: python3 ask.py HOST PORT DEVICE "question"
import json
import queue
import sys
import uuid

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

host, port, device, question = sys.argv[1:5]
reply_topic = f"pipit/client/{uuid.uuid4()}/reply"  # nobody else can guess it
replies = queue.Queue()


def on_connect(client, userdata, flags, reason_code, properties):
    client.subscribe(reply_topic, qos=1)


def on_subscribe(client, userdata, mid, reason_codes, properties):
    request = Properties(PacketTypes.PUBLISH)
    request.ResponseTopic = reply_topic
    request.CorrelationData = b"q-1"
    request.MessageExpiryInterval = 60  # seconds; a later answer would be of no use
    client.publish(f"pipit/{device}/ask", question, qos=1, properties=request)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = lambda client, userdata, message: replies.put(json.loads(message.payload))
client.connect(host, int(port))
client.loop_start()
reply = replies.get(timeout=60)
client.disconnect()
client.loop_stop()

if reply["status"] == "error":
    sys.exit(f"{reply['error']['code']}: {reply['error']['message']}")
print(reply["text"])
