/*
 * The exchange with a CPU in QEMU, in C: see interpreted.py, which says what it does and why.
 *
 * The other side is another process: words are read and written once, each whole, and ANSWER after
 * all that it announces. The interpreter's lock is kept: what is waited for here takes a microsecond.
 */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stddef.h>
#include <stdint.h>

#ifndef SOURCE /* the checksum of this file */
#define SOURCE unknown
#endif
#define TEXT_OF(token) #token
#define TEXT(macro) TEXT_OF(macro)

enum { REGISTERS = 18 };
enum { REQUEST = 0, ANSWER = 1, RESUME = 7, ASLEEP = 10, X = 16, KIND = 35, TICKS = 37 };
enum { WORDS = TICKS + 1 };
enum { NONE = -1 };
enum { LINE = 8 }; /* words in a line of the host's caches, as a rule */
enum { PER_LOOK = 40 }; /* so many looks here take as long as one in Python */

typedef struct {
    PyObject_HEAD
    Py_buffer buffer;
    uint64_t *words;
    unsigned long long ticks;
    PyObject *shown[REGISTERS]; /* what it has put into a list last, and the numbers that they are */
    uint64_t numbers[REGISTERS];
} Exchange;

static PyObject *check_registers; /* raises ValueError for what x0 to x17 cannot hold */

static uint64_t
load(Exchange *self, int word)
{
    return __atomic_load_n(&self->words[word], __ATOMIC_ACQUIRE);
}

static void
store(Exchange *self, int word, uint64_t value)
{
    __atomic_store_n(&self->words[word], value, __ATOMIC_RELEASE);
}

/* Methods ------------------------------------------------------------------------------------ */

/* Put x0 to x17 of its exit into the list: 0, or -1 and an exception. */
static int
read_block(Exchange *self, PyObject *x)
{
    int n;
    if (!PyList_Check(x) || PyList_Size(x) != REGISTERS) {
        PyErr_SetString(PyExc_ValueError, "x0 to x17 are a list of 18 integers");
        return -1;
    }
    for (n = 0; n < REGISTERS; n++) {
        uint64_t number = load(self, X + n);
        if (self->shown[n] == NULL || number != self->numbers[n]) {
            PyObject *before = self->shown[n], *value = PyLong_FromUnsignedLongLong(number);
            if (value == NULL)
                return -1;
            self->shown[n] = value;
            self->numbers[n] = number;
            Py_XDECREF(before);
        }
        Py_INCREF(self->shown[n]);
        if (PyList_SetItem(x, n, self->shown[n]))
            return -1;
    }
    return 0;
}

static PyObject *
exchange_take(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    Exchange *self = (Exchange *)object;
    long long looks;
    int n;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "take(x, looks)");
        return NULL;
    }
    looks = PyLong_AsLongLong(arguments[1]);
    if (looks == -1 && PyErr_Occurred())
        return NULL;
    for (looks *= PER_LOOK; looks > 0; looks--) {
        if (load(self, REQUEST) != load(self, ANSWER)) {
            if (read_block(self, arguments[0]))
                return NULL;
            self->ticks = load(self, TICKS);
            return PyLong_FromUnsignedLongLong(load(self, KIND));
        }
        for (n = 0; n < REGISTERS; n += LINE) /* written before REQUEST: let them come meanwhile */
            (void)load(self, X + n);
    }
    return PyLong_FromLong(NONE);
}

/* The registers of a list as numbers: 0 if they fit. */
static int
read_list(Exchange *self, PyObject *x, uint64_t *values)
{
    int n;
    if (!PyList_Check(x) || PyList_Size(x) != REGISTERS)
        return -1;
    for (n = 0; n < REGISTERS; n++) {
        PyObject *value = PyList_GetItem(x, n); /* borrowed */
        if (value != NULL && value == self->shown[n]) {
            values[n] = self->numbers[n];
            continue;
        }
        if (value == NULL || !PyLong_Check(value))
            return -1;
        values[n] = PyLong_AsUnsignedLongLong(value);
        if (values[n] == (uint64_t)-1 && PyErr_Occurred())
            return -1;
    }
    return 0;
}

static PyObject *
exchange_answer(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    Exchange *self = (Exchange *)object;
    uint64_t values[REGISTERS], resume;
    int n;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "answer(x, resume)");
        return NULL;
    }
    if (read_list(self, arguments[0], values)) {
        PyObject *said;
        PyErr_Clear();
        said = PyObject_CallFunctionObjArgs(check_registers, arguments[0], NULL);
        if (said != NULL)
            PyErr_SetString(PyExc_ValueError, "x0 to x17 are a list of 18 integers");
        Py_XDECREF(said);
        return NULL;
    }
    resume = PyLong_AsUnsignedLongLong(arguments[1]);
    if (resume == (uint64_t)-1 && PyErr_Occurred())
        return NULL;
    for (n = 0; n < REGISTERS; n++)
        if (load(self, X + n) != values[n]) /* else its line of memory stays the CPU's */
            store(self, X + n, values[n]);
    store(self, RESUME, resume);
    store(self, ANSWER, load(self, REQUEST));
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* it looks at ANSWER once more when it is ASLEEP */
    return PyBool_FromLong(load(self, ASLEEP) != 0);
}

/* The type ----------------------------------------------------------------------------------- */

static PyObject *
exchange_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Exchange *self;
    PyObject *words;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "O", &words))
        return NULL;
    self = (Exchange *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    if (PyObject_GetBuffer(words, &self->buffer, PyBUF_WRITABLE) == 0) {
        if (self->buffer.len >= (Py_ssize_t)(WORDS * sizeof(uint64_t)) &&
            (uintptr_t)self->buffer.buf % sizeof(uint64_t) == 0) {
            self->words = self->buffer.buf;
            return (PyObject *)self;
        }
        PyErr_SetString(PyExc_ValueError, "a block has more words, each in its place");
    }
    Py_DECREF(self);
    return NULL;
}

static void
exchange_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    Exchange *self = (Exchange *)object;
    int n;
    for (n = 0; n < REGISTERS; n++)
        Py_XDECREF(self->shown[n]);
    PyBuffer_Release(&self->buffer);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"take", (PyCFunction)(void (*)(void))exchange_take, METH_FASTCALL, NULL},
    {"answer", (PyCFunction)(void (*)(void))exchange_answer, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"ticks", T_ULONGLONG, offsetof(Exchange, ticks), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The exchange with a CPU in QEMU."},
    {Py_tp_new, exchange_new},
    {Py_tp_dealloc, exchange_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, NULL},
};

static PyType_Spec specification = {
    .name = "ffabric.machine.engines.qemu.exchange._exchange.Exchange",
    .basicsize = sizeof(Exchange),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_exchange", "The exchange with a CPU in QEMU.", -1, NULL,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__exchange(void)
{
    PyObject *type, *module = NULL, *context = PyImport_ImportModule("ffabric.machine.context");
    if (context == NULL)
        return NULL;
    check_registers = PyObject_GetAttrString(context, "check_registers");
    Py_DECREF(context);
    if (check_registers == NULL)
        return NULL;
    type = PyType_FromSpec(&specification);
    if (type != NULL)
        module = PyModule_Create(&definition);
    if (module != NULL && (PyModule_AddObjectRef(module, "Exchange", type) ||
                           PyModule_AddStringConstant(module, "SOURCE", TEXT(SOURCE))))
        Py_CLEAR(module);
    Py_XDECREF(type);
    return module;
}
