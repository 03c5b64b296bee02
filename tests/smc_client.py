"""A client of an OP-TEE that is called with its SMC ABI: what Linux's driver does, call by call."""

from ffabric.abi.optee import message as m
from ffabric.abi.optee import rpc, smc
from ffabric.abi.words import MASK32, PAGE, pages_for
from ffabric.guests.optee.error import TeeError
from ffabric.guests.optee.normal_world.driver import meta
from ffabric.guests.optee.normal_world.shm import Shm
from ffabric.guests.optee.normal_world.supplicant import Supplicant

Rpc, Return = smc.Rpc, smc.Return


class Client:
    """A VM, or a kernel, that a test drives; its supplicant keeps `files`."""

    def __init__(self, handle, files=None):
        self.handle = handle
        self.ffa = handle.ffa
        self.memory = handle.memory
        self.supplicant = Supplicant(files=files if files is not None else {})
        self.given = {}
        """Memory that OP-TEE has, by cookie."""
        self.served = []
        """What it was asked for."""
        self._last = 0x100

    def smc(self, *registers):
        """a0 to a3 after a call."""
        return [word & MASK32 for word in self.ffa.call(*registers)[:4]]

    def pages(self, count=1):
        return self.handle.ram.allocate(count)

    def put(self, message):
        """A message in a page of its own: its address."""
        at = self.pages()
        self.memory.write(at, m.build_message(message))
        return at

    def got(self, at):
        return m.parse_message(self.memory.read(at, PAGE), registered=True)

    def begin(self, at):
        """CALL_WITH_ARG: a0 to a3."""
        return self.smc(smc.CALL_WITH_ARG, at >> 32, at & MASK32)

    def resume(self, thread, a1=0, a2=0, a4=0, a5=0):
        """RETURN_FROM_RPC: a0 to a3."""
        return self.smc(smc.RETURN_FROM_RPC, a1, a2, thread, a4, a5)

    def call(self, message):
        """A call with its RPCs to its end: the message as OP-TEE left it."""
        at = self.put(message)
        x = self.begin(at)
        while smc.is_rpc(x[0]):
            x = self.serve(x)
        assert x[0] == Return.OK, Return(x[0])
        return self.got(at)

    def serve(self, x):
        """Do what OP-TEE wants first: a0 to a3 of the call that goes on."""
        kind, cookie, thread = x[0], x[1] << 32 | x[2], x[3]
        if kind == Rpc.ALLOC:
            page, cookie = self.cookie(x[1])
            self.served.append("ALLOC")
            return self.resume(thread, page >> 32, page & MASK32, cookie >> 32, cookie & MASK32)
        if kind == Rpc.FREE:
            self.served.append("FREE")
            del self.given[cookie]
        elif kind == Rpc.CMD:
            self.answer(self.given[cookie].ipa)
        return self.resume(thread)

    def cookie(self, size):
        """Fresh memory that OP-TEE may use, and what it is called."""
        self._last += 1
        at = self.pages(pages_for(size))
        self.given[self._last] = Shm(self.memory, at, size, self._last, own=True)
        return at, self._last

    def answer(self, page):
        """Serve the message of OP-TEE that is in a page."""
        request = self.got(page)
        self.served.append(rpc.Command(request.command).name)
        answer = replace_params(request, request.params)
        if request.command == rpc.Command.SHM_ALLOC:
            answer.params = [self.listed(request.params[0].b)]
        elif request.command == rpc.Command.SHM_FREE:
            del self.given[request.params[0].b]
        elif request.command != rpc.Command.NOTIFICATION:
            params = [as_fmem(each) for each in request.params]
            try:
                params = self.supplicant.serve(request.command, params, self.given)
                answer.ret = 0
            except TeeError as error:
                answer.ret = error.result
            answer.params = [as_rmem(each) for each in params]
        self.memory.write(page, m.build_message(answer))

    def listed(self, size):
        """Memory for OP-TEE as a list of its pages, the last one first of all in memory."""
        count = pages_for(size)
        at, cookie = self.cookie(size)
        pages = [at + each * PAGE for each in range(count)]
        return m.Tmem(m.Type.TMEM_OUTPUT | m.NONCONTIG, self.page_list(pages), size, cookie)

    def page_list(self, pages):
        (data,) = m.build_page_list(pages, [lists := self.pages()])
        self.memory.write(lists, data)
        return lists

    def register(self, pages, reference, size=None):
        """REGISTER_SHM: the result."""
        param = m.Tmem(
            m.Type.TMEM_OUTPUT | m.NONCONTIG, self.page_list(pages), size or len(pages) * PAGE,
            reference,
        )  # fmt: skip
        return self.call(m.Message(m.Command.REGISTER_SHM, params=[param])).ret

    def unregister(self, reference):
        param = m.Rmem(m.Type.FMEM_INPUT, 0, 0, reference)
        return self.call(m.Message(m.Command.UNREGISTER_SHM, params=[param])).ret

    def open(self, ta):
        """A session. Raises TeeError."""
        answer = self.call(m.Message(m.Command.OPEN_SESSION, params=meta(ta)))
        if answer.ret:
            raise TeeError(answer.ret, answer.ret_origin)
        return answer.session

    def invoke(self, session, function, *params):
        """The parameters as the TA left them. Raises TeeError."""
        answer = self.call(self.invocation(session, function, *params))
        if answer.ret:
            raise TeeError(answer.ret, answer.ret_origin, answer.params)
        return answer.params

    def invocation(self, session, function, *params):
        return m.Message(m.Command.INVOKE_COMMAND, function, session, params=params)

    def close(self, session):
        return self.call(m.Message(m.Command.CLOSE_SESSION, session=session)).ret


def replace_params(message, params):
    return m.Message(
        message.command, message.function, message.session, message.cancel_id, 0, 0, list(params)
    )


def as_fmem(param):
    """A part of memory as the Python supplicant has it."""
    if not isinstance(param, m.Rmem):
        return param
    return m.Fmem(param.attributes, param.offset, 0, param.size, param.reference)


def as_rmem(param):
    if not isinstance(param, m.Fmem):
        return param
    return m.Rmem(param.attributes, param.offset, param.size, param.handle)
