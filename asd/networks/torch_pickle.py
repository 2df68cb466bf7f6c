"""PyTorch's pickles read by a machine that can call nothing; without PyTorch or TensorFlow.

It knows the few operations that dictionaries, lists, plain values and tensors take. What else a
pickle names is refused by its name.
"""

from __future__ import annotations

import pickletools
from typing import Any, BinaryIO, NamedTuple

MOST_BYTES = 1 << 33  # of a file, and of a storage
MOST_PICKLE_BYTES = 1 << 24
MOST_DIMENSIONS = 8

STORAGES = {f"torch.{name}Storage": kind for name, kind in {
    "Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": "<u2", "Long": "<i8", "Int": "<i4",
    "Short": "<i2", "Char": "|i1", "Byte": "|u1", "Bool": "|b1"}.items()}  # fmt: skip
BFLOAT16 = "torch.BFloat16Storage"  # the upper half of float32
TENSOR, PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
ORDERED = "collections.OrderedDict"
KNOWN = {TENSOR, PARAMETER, ORDERED, *STORAGES}


class Refused(ValueError):
    """The file holds what no checkpoint of weights needs; the message says what."""


class Named(NamedTuple):
    """What stands for a class or a function; it cannot be called."""

    name: str


class Storage(NamedTuple):
    """Where a tensor's numbers are."""

    kind: str  # of STORAGES
    key: str
    count: int


class Tensor(NamedTuple):
    """A tensor whose numbers have not been read."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
GIVEN = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
         "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"}  # fmt: skip
NOTHING = {"PROTO", "FRAME"}


def unpickled(stream: BinaryIO, storages: dict[str, Storage] | None = None) -> Any:
    """The values of one pickle, read by a machine that can call nothing.

    Parameters
    ----------
    storages : is given those that tensors name, by their keys

    Raises
    ------
    Refused : it names what no tensor is made of, or takes another operation.
    Exception : of the kinds that `torch_file.opened` lists, where it is damaged.
    """
    machine = _Machine(storages if storages is not None else {})
    bounded = _Bounded(stream)
    for operation, argument, _ in pickletools.genops(bounded):
        if operation.name == "STOP":
            return machine.stack.pop()
        machine.do(operation.name, argument)
    raise EOFError("a pickle without an end")


class _Bounded:
    """A stream that ends after the most that a pickle may have."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._left = stream, MOST_PICKLE_BYTES

    def read(self, size: int) -> bytes:
        return self._counted(self._stream.read(min(size, self._left)))

    def readline(self) -> bytes:
        return self._counted(self._stream.readline(self._left))

    def tell(self) -> int:
        return self._stream.tell()

    def _counted(self, content: bytes) -> bytes:
        self._left -= len(content)
        return content


class _Machine:
    """A pickle's stack and memory, and the operations that values and tensors take."""

    def __init__(self, storages: dict[str, Storage]) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memory: dict[int, Any] = {}
        self._storages = storages

    def do(self, name: str, argument: Any) -> None:
        """Do an operation, of the name that `pickletools` has for it."""
        if name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in GIVEN:
            self.stack.append(argument)
        elif name not in NOTHING:
            own = getattr(self, f"_{name.lower()}", None)
            if own is None:
                raise Refused(f"its pickle takes the operation {name}")
            own(argument)

    def _since_mark(self) -> list[Any]:
        at = self._marks.pop()
        found, self.stack[at:] = self.stack[at:], []
        return found

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self.stack))

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _some(self, count: int) -> None:
        found, self.stack[-count:] = tuple(self.stack[-count:]), []
        if len(found) < count:
            raise IndexError("a pickle whose stack is empty")
        self.stack.append(found)

    def _tuple1(self, _: Any) -> None:
        self._some(1)

    def _tuple2(self, _: Any) -> None:
        self._some(2)

    def _tuple3(self, _: Any) -> None:
        self._some(3)

    def _append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, values: list[Any]) -> None:
        expect(self.stack[-1], list).extend(values)

    def _setitem(self, _: Any) -> None:
        value = self.stack.pop()
        self._update([self.stack.pop(), value])

    def _setitems(self, _: Any) -> None:
        self._update(self._since_mark())

    def _update(self, values: list[Any]) -> None:
        target = expect(self.stack[-1], dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[expect(key, str, int)] = value  # a tuple's hash may take for ever

    def _memoize(self, _: Any) -> None:
        self._memory[len(self._memory)] = self.stack[-1]

    def _binput(self, place: int) -> None:
        self._memory[place] = self.stack[-1]

    _long_binput = _binput

    def _binget(self, place: int) -> None:
        self.stack.append(self._memory[place])

    _long_binget = _binget

    def _global(self, names: str) -> None:
        self._named(names.replace(" ", ".", 1))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._named(f"{expect(module, str)}.{expect(name, str)}")

    def _named(self, name: str) -> None:
        if name not in KNOWN:
            shown = name if name.isprintable() else ascii(name)
            raise Refused(f"it names {shown[:80]}, which is no part of weights; nothing was run")
        self.stack.append(Named(name))

    def _binpersid(self, _: Any) -> None:
        word, kind, key, _, count, *view = expect(self.stack.pop(), tuple)
        kind = expect(kind, Named).name
        if word != "storage" or kind not in STORAGES or view not in ([], [None]):
            raise Refused("it refers to what is no storage of numbers")
        storage = Storage(kind, expect(key, str), _size(count))
        self._storages[storage.key] = storage
        self.stack.append(storage)

    def _reduce(self, _: Any) -> None:
        values, what = expect(self.stack.pop(), tuple), expect(self.stack.pop(), Named)
        if what.name == ORDERED and not values:
            self.stack.append({})
        elif what.name == TENSOR:
            self.stack.append(_tensor(*values[:4]))
        elif what.name == PARAMETER:
            self.stack.append(expect(values[0], Tensor))
        else:
            raise Refused(f"it makes something of {what.name} that is no tensor")

    def _build(self, _: Any) -> None:
        self.stack.pop()  # what PyTorch notes beside a dictionary: versions of its layers
        expect(self.stack[-1], dict)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    """A tensor of sizes that can be."""
    sizes = [_size(one) for one in expect(shape, tuple)]
    steps = [_size(one) for one in expect(strides, tuple)]
    if len(sizes) != len(steps) or len(sizes) > MOST_DIMENSIONS:
        raise Refused(f"a tensor of {len(sizes)} dimensions and {len(steps)} strides")
    return Tensor(expect(storage, Storage), _size(offset), tuple(sizes), tuple(steps))


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST_BYTES:
        raise Refused("a size in it is none")
    return value


def expect(value: Any, *kinds: type) -> Any:
    """A value, which has to be of one of these types."""
    if type(value) not in kinds:
        raise Refused(f"its pickle has a {type(value).__name__} where {kinds[0].__name__} belongs")
    return value
