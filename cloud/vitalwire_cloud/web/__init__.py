"""The HTTP side of the cloud: typed API, live WebSocket, and the page that staff watches.

`create_app` builds everything from what it is given; nothing here owns a store, a desk or a thread.
"""

from vitalwire_cloud.web.access import UnsafeBindError, require_token
from vitalwire_cloud.web.app import create_app
from vitalwire_cloud.web.ports import Desk, Info

__all__ = ["Desk", "Info", "UnsafeBindError", "create_app", "require_token"]
