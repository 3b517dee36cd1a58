"""What receives a file in tests of the network: bytes in memory, and waits that are noted."""

from model_provisioner.fetchers.http.receive import receive


class Sink:
    """The bytes of one file in memory, by the rules of a partial file."""

    def __init__(self, data=b"", validator=None):
        self.data, self.validator, self.begun = bytearray(data), validator, []

    @property
    def size(self):
        return len(self.data)

    def begin(self, validator):
        if validator is None or validator != self.validator:
            self.data.clear()
        self.validator = validator
        self.begun.append(validator)

    def write(self, chunk):
        assert isinstance(chunk, bytes)
        self.data += chunk


class Naps(list):
    """Waits that are noted and not waited."""

    def __call__(self, seconds):
        self.append(seconds)


def fetch(client, file, sink, **options):
    """Receive a file; nobody is told of its size and of how far it is."""
    receive(client, file, sink, expect=lambda size: None, reach=lambda done: None, **options)
