"""Messages of gRPC requests, read within bounds; a client is a list of futures here."""

import asyncio
import time

import grpc
import pytest

from cxrflow.serving.messages import Messages
from cxrflow.serving.status import StatusError


class Sent:
    """A request's stream; its message comes when `send` is called, and `asked` says it is read."""

    def __init__(self):
        self.asked, self._come = False, asyncio.get_running_loop().create_future()

    def send(self, message):
        self._come.set_result(message)

    async def read(self):
        self.asked = True
        return await self._come


def soon(seconds=5.0):
    return time.monotonic() + seconds


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_connection_sends_so_many_messages_at_once():
    async def story():
        messages = Messages(at_once=2, max_total=100, max_message=10)
        mine, other = [Sent() for _ in range(3)], Sent()
        reads = [asyncio.ensure_future(messages.read(one.read, "a:1", soon())) for one in mine]
        reads.append(asyncio.ensure_future(messages.read(other.read, "a:2", soon())))
        await settled()
        assert [one.asked for one in (*mine, other)] == [True, True, False, True]
        mine[1].send(b"1")
        assert await reads[1] == b"1"
        await settled()
        assert mine[2].asked
        for sent, message in ((mine[0], b"0"), (mine[2], b"2"), (other, b"o")):
            sent.send(message)
        assert await asyncio.gather(*reads) == [b"0", b"1", b"2", b"o"]
        assert not messages._connections  # nothing is kept of who has gone

    asyncio.run(story())


@pytest.mark.parametrize("waits_for_a_turn", [False, True])
def test_a_message_that_does_not_come_ends_with_its_deadline(waits_for_a_turn):
    async def story():
        messages = Messages(at_once=1, max_total=100, max_message=10)
        if waits_for_a_turn:
            first = asyncio.ensure_future(messages.read(Sent().read, "a:1", soon()))
            await settled()
        with pytest.raises(StatusError, match="too slowly") as caught:
            await messages.read(Sent().read, "a:1", soon(0.05))
        assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
        if waits_for_a_turn:
            first.cancel()

    asyncio.run(story())


def test_a_request_without_a_message_is_the_clients_mistake():
    async def story():
        sent = Sent()
        sent.send(grpc.aio.EOF)
        with pytest.raises(StatusError, match="no message") as caught:
            await Messages(1, 100, 10).read(sent.read, "a:1", soon())
        assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT

    asyncio.run(story())


def test_messages_that_leave_no_room_are_overload():
    messages = Messages(at_once=1, max_total=5, max_message=10)
    with messages.counted(6), messages.counted(4):  # the largest one always fits
        with pytest.raises(StatusError, match="hold 10 bytes") as caught, messages.counted(1):
            pass
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    with messages.counted(10):
        pass
