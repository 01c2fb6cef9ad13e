# WebUI 1.10.1: modules/call_queue.py

from modules.fifo_lock import FIFOLock

queue_lock: FIFOLock
