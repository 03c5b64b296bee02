/*
 * The inner loop of a vCPU under Unicorn, in C: see interpreted.py, which says what it does and why.
 *
 * The type InnerLoop here has the attributes and the methods of its twin in Python that are used
 * between two exits. A class that inherits from both has these first (compiled.py); what happens
 * rarely it has from Python. Whatever does not fit the integers of C, virtual time beyond 2^62 ns
 * for one, is handed to the twin, and so is everything while `interpreted` is set.
 *
 * The interpreter's lock is given up while Unicorn executes, and taken again in the hook. Unicorn's
 * functions come as addresses, so that this is linked with nothing.
 */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#ifndef SOURCE /* the checksum of this file */
#define SOURCE unknown
#endif
#define TEXT_OF(token) #token
#define TEXT(macro) TEXT_OF(macro)

enum { REGISTERS = 18, CALLS = 4 };

static const long long FAR_AWAY = 1LL << 62; /* in ns, or in instructions */

typedef int (*batch_function)(void *, int *, void **, int);
typedef int (*start_function)(void *, uint64_t, uint64_t, uint64_t, size_t);
typedef int (*stop_function)(void *);

static batch_function uc_read, uc_write;
static start_function uc_start;
static stop_function uc_stop;
static PyObject *twin; /* InnerLoop in Python */
static PyObject *sys_module;

typedef struct {
    PyObject_HEAD
    void *uc;
    size_t *executed, *limit; /* Unicorn's own: of the present stretch */
    int ids[REGISTERS], pc_id;
    uint64_t values[REGISTERS], pc; /* of the emulator, when they were read or written last */
    void *places[REGISTERS];
    PyObject *shown[REGISTERS]; /* what stood in the context last, and the numbers that they are */
    uint64_t known[REGISTERS];
    int numbers[CALLS]; /* of exceptions that are calls */
    PyObject *exits[CALLS];
    int calls;
    PyThreadState *thread; /* while Unicorn executes */
    long long instructions, counted, slice_end, slice, instruction_time;
    long long called_at, long_quiet, quiet_limit;
    long long tlb, code, generation;
    char interpreted, inside, going, kicked, answer, fresh, refused;
    PyObject *clock, *siblings, *stage2, *context, *trap, *dead;
    PyObject *error, *abort, *excepted;
    PyObject *emulator, *lost, *on_lost, *former;
} InnerLoop;

/* Names of attributes and methods of Python, made once. */
static struct {
    PyObject *now, *due, *advance, *x, *generation, *tlb, *code, *flush_tlb, *former;
    PyObject *unraisablehook, *cannot_run, *apply_pending, *exception, *after;
    PyObject *step, *spend, *go_on, *give_answer, *keep_deadline;
} names;

/* Small things ------------------------------------------------------------------------------- */

static void
replace(PyObject **place, PyObject *object)
{
    PyObject *before = *place;
    Py_INCREF(object);
    *place = object;
    Py_XDECREF(before);
}

/* Call a method without a result: 0, or -1 and an exception. It takes over `argument` (or NULL). */
static int
do_call(PyObject *object, PyObject *name, PyObject *argument)
{
    PyObject *result = PyObject_CallMethodObjArgs(object, name, argument, NULL);
    Py_XDECREF(argument);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Let the twin do it. It takes over `argument` (or NULL). */
static int
by_twin(InnerLoop *self, PyObject *name, PyObject *argument)
{
    PyObject *result = PyObject_CallMethodObjArgs(twin, name, (PyObject *)self, argument, NULL);
    Py_XDECREF(argument);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* An integer attribute that has been set: 0, or -1 and an exception. Large ones are FAR_AWAY. */
static int
get_number(PyObject *object, PyObject *name, long long *number)
{
    int overflow;
    PyObject *value = object == NULL ? NULL : PyObject_GetAttr(object, name);
    if (value == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_SystemError, "the inner loop was never bound");
        return -1;
    }
    *number = PyLong_AsLongLongAndOverflow(value, &overflow);
    Py_DECREF(value);
    if (overflow > 0 || *number > FAR_AWAY)
        *number = FAR_AWAY;
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

static int
is_set(PyObject *object)
{
    return object != NULL && object != Py_None;
}

static int
check_bound(InnerLoop *self)
{
    if (self->uc != NULL && self->clock != NULL && self->siblings != NULL && self->lost != NULL)
        return 0;
    PyErr_SetString(PyExc_SystemError, "the inner loop was never bound");
    return -1;
}

/* Accounts ----------------------------------------------------------------------------------- */

static void
end_within(InnerLoop *self, size_t instructions)
{
    size_t executed = *self->executed;
    if (instructions <= SIZE_MAX - executed && executed + instructions < *self->limit)
        *self->limit = executed + instructions;
}

static void
kick(InnerLoop *self)
{
    if (self->inside) {
        self->kicked = 1;
        end_within(self, 0);
    }
}

/* `ns` is not negative and below 2^32. */
static int
spend(InnerLoop *self, long long ns)
{
    long long now, due, passed;
    size_t executed = *self->executed < *self->limit ? *self->executed : *self->limit;
    long long done = (long long)executed - self->counted;

    if (get_number(self->clock, names.now, &now) || get_number(self->clock, names.due, &due))
        return -1;
    if (now >= FAR_AWAY / 2 || done > (FAR_AWAY / 2 - ns) / self->instruction_time)
        return by_twin(self, names.spend, PyLong_FromLongLong(ns));
    passed = done * self->instruction_time + ns;
    self->counted = (long long)executed;
    self->instructions += done;
    if (now + passed < due) {
        int failed;
        PyObject *value;
        if (passed == 0)
            return 0;
        value = PyLong_FromLongLong(now + passed);
        if (value == NULL)
            return -1;
        failed = PyObject_SetAttr(self->clock, names.now, value);
        Py_DECREF(value);
        return failed;
    }
    if (do_call(self->clock, names.advance, PyLong_FromLongLong(passed)))
        return -1;
    kick(self);
    return 0;
}

/* Instructions until `due`, which is beyond `now`. */
static long long
instructions_until(InnerLoop *self, long long now, long long due)
{
    return (due - now - 1) / self->instruction_time + 1;
}

static int
keep_deadline(InnerLoop *self)
{
    long long now, due;
    if (get_number(self->clock, names.due, &due))
        return -1;
    if (due == FAR_AWAY)
        return 0;
    if (get_number(self->clock, names.now, &now))
        return -1;
    end_within(self, due > now ? (size_t)instructions_until(self, now, due) : 0);
    return 0;
}

static int
sync_tlb(InnerLoop *self)
{
    long long tlb, generation = self->generation;
    int changed;
    if (get_number(self->siblings, names.tlb, &tlb))
        return -1;
    if (is_set(self->stage2) && get_number(self->stage2, names.generation, &generation))
        return -1;
    changed = tlb != self->tlb || generation != self->generation;
    self->tlb = tlb;
    self->generation = generation;
    return changed ? do_call(self->emulator, names.flush_tlb, NULL) : 0;
}

static int
go_on(InnerLoop *self)
{
    if (sync_tlb(self))
        return -1;
    if (is_set(self->abort) || self->kicked) {
        uc_stop(self->uc);
        return 0;
    }
    return keep_deadline(self);
}

/* Registers ---------------------------------------------------------------------------------- */

/* The list of x0 to x17 of the context: a new reference. */
static PyObject *
registers_of_context(InnerLoop *self)
{
    PyObject *x;
    if (self->context == NULL) {
        PyErr_SetString(PyExc_SystemError, "the inner loop does not run");
        return NULL;
    }
    x = PyObject_GetAttr(self->context, names.x);
    if (x != NULL && (!PyList_Check(x) || PyList_Size(x) != REGISTERS)) {
        Py_DECREF(x);
        PyErr_SetString(PyExc_ValueError, "x0 to x17 are a list of 18 integers");
        return NULL;
    }
    return x;
}

/* Show x0 to x17 in the context: what is there already stays there. */
static int
show_registers(InnerLoop *self)
{
    PyObject *x = registers_of_context(self);
    int n, failed = x == NULL;
    if (failed)
        return -1;
    uc_read(self->uc, self->ids, self->places, REGISTERS);
    for (n = 0; n < REGISTERS && !failed; n++) {
        PyObject *value = PyList_GetItem(x, n); /* borrowed */
        failed = value == NULL;
        if (failed || (value == self->shown[n] && self->known[n] == self->values[n]))
            continue;
        value = PyLong_FromUnsignedLongLong(self->values[n]);
        failed = value == NULL;
        if (!failed) {
            replace(&self->shown[n], value);
            self->known[n] = self->values[n];
            failed = PyList_SetItem(x, n, value);
        }
    }
    Py_DECREF(x);
    return failed ? -1 : 0;
}

/* Look what x0 to x17 of the context are: 0 if they fit registers. */
static int
look_at_answer(InnerLoop *self, PyObject *x)
{
    int n;
    for (n = 0; n < REGISTERS; n++) {
        uint64_t number;
        PyObject *value = PyList_GetItem(x, n); /* borrowed */
        if (value == self->shown[n] && value != NULL)
            continue;
        if (value == NULL || !PyLong_Check(value))
            return -1;
        number = PyLong_AsUnsignedLongLong(value);
        if (number == (uint64_t)-1 && PyErr_Occurred())
            return -1;
        self->known[n] = number;
        replace(&self->shown[n], value);
    }
    return 0;
}

/* Load x0 to x17 from the context; `current`: `values` are what the emulator has. */
static int
give_answer(InnerLoop *self, int current)
{
    PyObject *x = registers_of_context(self);
    int ids[REGISTERS], n, count = 0, failed = x == NULL || look_at_answer(self, x);
    void *places[REGISTERS];
    Py_XDECREF(x);
    if (failed) { /* the twin says what is wrong */
        PyErr_Clear();
        return by_twin(self, names.give_answer, NULL);
    }
    self->answer = 0;
    for (n = 0; n < REGISTERS; n++) {
        if (current && self->values[n] == self->known[n])
            continue;
        self->values[n] = self->known[n];
        ids[count] = self->ids[n];
        places[count++] = &self->values[n];
    }
    if (count)
        uc_write(self->uc, ids, places, count);
    return 0;
}

/* Calls -------------------------------------------------------------------------------------- */

static int
call_trap(InnerLoop *self, PyObject *exit)
{
    PyObject *result;
    int on;
    if (show_registers(self))
        return -1;
    self->answer = 1;
    self->fresh = 0;
    self->called_at = self->instructions;
    result = PyObject_CallFunctionObjArgs(self->trap, self->context, exit, NULL);
    on = result == NULL ? -1 : PyObject_IsTrue(result);
    Py_XDECREF(result);
    if (on < 0)
        return -1;
    if (on)
        return give_answer(self, 1) || go_on(self) ? -1 : 0;
    self->going = 0;
    uc_stop(self->uc);
    return 0;
}

static int
intercept(InnerLoop *self, uint32_t number)
{
    int n;
    if (self->interpreted) {
        PyObject *result =
            PyObject_CallMethod((PyObject *)self, "_intercept", "iIi", 0, (unsigned)number, 0);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    if (spend(self, 0))
        return -1;
    for (n = 0; n < self->calls; n++)
        if (self->numbers[n] == (int)number)
            return call_trap(self, self->exits[n]);
    return do_call((PyObject *)self, names.exception, NULL);
}

/* Keep the present exception, to be raised outside of the emulator. */
static void
keep_error(InnerLoop *self)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    if (is_set(self->error)) {
        Py_XDECREF(value);
    } else {
        PyObject *none = self->error;
        self->error = value;
        Py_XDECREF(none);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    self->going = 0;
    uc_stop(self->uc);
}

/* Unicorn's hook for all exceptions; a stretch of the twin comes here, too. */
static void
hook(void *uc, uint32_t number, void *user)
{
    InnerLoop *self = user;
    if (self->thread == NULL) {
        PyGILState_STATE state = PyGILState_Ensure();
        if (uc == self->uc && intercept(self, number))
            keep_error(self);
        PyGILState_Release(state);
        return;
    }
    PyEval_RestoreThread(self->thread);
    if (intercept(self, number))
        keep_error(self);
    self->thread = PyEval_SaveThread();
}

/* Execution ---------------------------------------------------------------------------------- */

/* Let the emulator keep what the hooks in Python cannot raise; see Emulator.run. */
static int
begin_losses(InnerLoop *self)
{
    PyObject *former = PyObject_GetAttr(sys_module, names.unraisablehook);
    if (former == NULL)
        return -1;
    if (former != self->former) {
        PyObject *before = self->former;
        if (PyObject_SetAttr(self->emulator, names.former, former)) {
            Py_DECREF(former);
            return -1;
        }
        self->former = former;
        Py_XDECREF(before);
    } else {
        Py_DECREF(former);
    }
    return PyObject_SetAttr(sys_module, names.unraisablehook, self->on_lost);
}

static int
end_losses(InnerLoop *self)
{
    return PyObject_SetAttr(sys_module, names.unraisablehook, self->former);
}

/* How many instructions the next stretch may have: 0 if an exception was raised. */
static long long
next_budget(InnerLoop *self)
{
    long long now, due, until, budget = self->slice_end - self->instructions;
    long long quiet = self->instructions - self->called_at;
    if (quiet > self->long_quiet) {
        PyObject *cut = PyObject_CallMethod((PyObject *)self, "_cut_slice", "LL", quiet, budget);
        if (cut == NULL)
            return 0;
        budget = PyLong_AsLongLong(cut);
        Py_DECREF(cut);
        if (budget == -1 && PyErr_Occurred())
            return 0;
    }
    if (get_number(self->clock, names.now, &now) || get_number(self->clock, names.due, &due))
        return 0;
    if (due <= now) {
        if (do_call(self->clock, names.advance, PyLong_FromLong(0)) ||
            get_number(self->clock, names.now, &now) || get_number(self->clock, names.due, &due))
            return 0;
    }
    until = due > now ? instructions_until(self, now, due) : 1;
    if (until < budget)
        budget = until;
    return budget < 1 ? 1 : budget;
}

static int
stretch(InnerLoop *self)
{
    long long budget = next_budget(self);
    void *pc = &self->pc;
    int error;
    if (budget == 0)
        return -1;
    uc_read(self->uc, &self->pc_id, &pc, 1);
    if (begin_losses(self))
        return -1;
    self->counted = 0;
    self->inside = 1;
    self->thread = PyEval_SaveThread();
    error = uc_start(self->uc, self->pc, 0, 0, (size_t)budget);
    PyEval_RestoreThread(self->thread);
    self->thread = NULL;
    if (end_losses(self) || spend(self, 0))
        return -1;
    self->inside = 0;
    if (error || is_set(self->error) || PyList_Size(self->lost) || self->refused || self->kicked ||
        self->instructions >= self->slice_end ||
        self->instructions - self->called_at >= self->quiet_limit)
        return do_call((PyObject *)self, names.after, PyLong_FromLong(error));
    return 0;
}

static int
step(InnerLoop *self)
{
    long long code, now;
    if (get_number(self->clock, names.now, &now))
        return -1;
    if (self->interpreted || now >= FAR_AWAY / 2)
        return by_twin(self, names.step, NULL);
    if (sync_tlb(self) || get_number(self->siblings, names.code, &code))
        return -1;
    if (is_set(self->abort) || code != self->code) {
        if (do_call((PyObject *)self, names.apply_pending, NULL))
            return -1;
    }
    return self->going ? stretch(self) : 0;
}

/* Methods ------------------------------------------------------------------------------------ */

/* Py_RETURN_NONE of CPython 3.12 and 3.13 counts no reference, also for a limited API of 3.11, whose
   None is counted: it would be deallocated there some thousand calls later. */
static PyObject *
none(void)
{
    Py_INCREF(Py_None);
    return Py_None;
}

static PyObject *
none_or_error(int failed)
{
    return failed ? NULL : none();
}

static PyObject *
loop_run(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    InnerLoop *self = (InnerLoop *)object;
    int dead;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "run(ctx, trap)");
        return NULL;
    }
    dead = self->dead != NULL ? PyObject_IsTrue(self->dead) : 1;
    if (dead < 0)
        return NULL;
    if (dead)
        return PyObject_CallMethodObjArgs((PyObject *)self, names.cannot_run, arguments[0],
                                          arguments[1], NULL);
    if (check_bound(self))
        return NULL;
    replace(&self->context, arguments[0]);
    replace(&self->trap, arguments[1]);
    if (self->answer && give_answer(self, 0))
        return NULL;
    self->kicked = self->fresh = 0;
    replace(&self->excepted, Py_None);
    replace(&self->error, Py_None);
    self->going = 1;
    self->slice_end = self->instructions + self->slice;
    while (self->going)
        if (step(self))
            return NULL;
    return none();
}

static PyObject *
loop_spend(PyObject *object, PyObject *argument)
{
    InnerLoop *self = (InnerLoop *)object;
    long long ns = PyLong_AsLongLong(argument);
    if (ns == -1 && PyErr_Occurred())
        return NULL;
    if (check_bound(self))
        return NULL;
    if (self->interpreted || ns < 0 || ns > UINT_MAX) {
        Py_INCREF(argument);
        return none_or_error(by_twin(self, names.spend, argument));
    }
    return none_or_error(spend(self, ns));
}

static PyObject *
loop_end_within(PyObject *object, PyObject *argument)
{
    InnerLoop *self = (InnerLoop *)object;
    unsigned long long instructions = PyLong_AsUnsignedLongLong(argument);
    if (instructions == (unsigned long long)-1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return NULL;
        PyErr_Clear(); /* longer than any stretch */
        return none();
    }
    if (check_bound(self))
        return NULL;
    end_within(self, instructions < SIZE_MAX ? (size_t)instructions : SIZE_MAX);
    return none();
}

static PyObject *
loop_kick(PyObject *object, PyObject *unused)
{
    InnerLoop *self = (InnerLoop *)object;
    (void)unused;
    kick(self);
    return none();
}

static PyObject *
loop_keep_deadline(PyObject *object, PyObject *unused)
{
    InnerLoop *self = (InnerLoop *)object;
    (void)unused;
    if (check_bound(self))
        return NULL;
    return none_or_error(self->interpreted ? by_twin(self, names.keep_deadline, NULL)
                                           : keep_deadline(self));
}

static PyObject *
loop_go_on(PyObject *object, PyObject *unused)
{
    InnerLoop *self = (InnerLoop *)object;
    (void)unused;
    if (check_bound(self))
        return NULL;
    return none_or_error(self->interpreted ? by_twin(self, names.go_on, NULL) : go_on(self));
}

/* bind(emulator, uc, counter, ids, pc, calls): the address of the hook; its argument is `self`. */
static PyObject *
loop_bind(PyObject *object, PyObject *arguments)
{
    InnerLoop *self = (InnerLoop *)object;
    PyObject *emulator, *ids, *calls, *number, *exit, *lost, *on_lost;
    unsigned long long uc, counter;
    Py_ssize_t position = 0;
    int n;
    if (!PyArg_ParseTuple(arguments, "OKKO!iO!", &emulator, &uc, &counter, &PyTuple_Type, &ids,
                          &self->pc_id, &PyDict_Type, &calls))
        return NULL;
    if (uc == 0 || counter == 0 || PyTuple_Size(ids) != REGISTERS || PyDict_Size(calls) > CALLS ||
        self->instruction_time < 1) {
        PyErr_SetString(PyExc_ValueError, "no emulator to bind to");
        return NULL;
    }
    for (n = 0; n < REGISTERS; n++) {
        self->ids[n] = (int)PyLong_AsLong(PyTuple_GetItem(ids, n));
        self->places[n] = &self->values[n];
    }
    for (n = 0; n < self->calls; n++)
        Py_CLEAR(self->exits[n]);
    self->calls = 0;
    while (PyDict_Next(calls, &position, &number, &exit)) {
        self->numbers[self->calls] = (int)PyLong_AsLong(number);
        replace(&self->exits[self->calls++], exit);
    }
    if (PyErr_Occurred())
        return NULL;
    lost = PyObject_GetAttrString(emulator, "lost");
    on_lost = PyObject_GetAttrString(emulator, "on_lost");
    if (lost != NULL && on_lost != NULL && PyList_Check(lost)) {
        replace(&self->emulator, emulator);
        replace(&self->lost, lost);
        replace(&self->on_lost, on_lost);
        Py_CLEAR(self->former);
        self->uc = (void *)(uintptr_t)uc;
        self->executed = (size_t *)(uintptr_t)counter;
        self->limit = self->executed + 1;
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "what is lost is a list");
    }
    Py_XDECREF(lost);
    Py_XDECREF(on_lost);
    if (PyErr_Occurred())
        return NULL;
    return PyLong_FromVoidPtr((void *)(uintptr_t)hook);
}

/* The type ----------------------------------------------------------------------------------- */

static int
loop_traverse(PyObject *object, visitproc visit, void *arg)
{
    InnerLoop *self = (InnerLoop *)object;
    int n;
    Py_VISIT(Py_TYPE(object));
    for (n = 0; n < self->calls; n++)
        Py_VISIT(self->exits[n]);
    for (n = 0; n < REGISTERS; n++)
        Py_VISIT(self->shown[n]);
    Py_VISIT(self->clock);
    Py_VISIT(self->siblings);
    Py_VISIT(self->stage2);
    Py_VISIT(self->context);
    Py_VISIT(self->trap);
    Py_VISIT(self->dead);
    Py_VISIT(self->error);
    Py_VISIT(self->abort);
    Py_VISIT(self->excepted);
    Py_VISIT(self->emulator);
    Py_VISIT(self->lost);
    Py_VISIT(self->on_lost);
    Py_VISIT(self->former);
    return 0;
}

static int
loop_clear(PyObject *object)
{
    InnerLoop *self = (InnerLoop *)object;
    int n, calls = self->calls;
    self->calls = 0;
    for (n = 0; n < calls; n++)
        Py_CLEAR(self->exits[n]);
    for (n = 0; n < REGISTERS; n++)
        Py_CLEAR(self->shown[n]);
    Py_CLEAR(self->clock);
    Py_CLEAR(self->siblings);
    Py_CLEAR(self->stage2);
    Py_CLEAR(self->context);
    Py_CLEAR(self->trap);
    Py_CLEAR(self->dead);
    Py_CLEAR(self->error);
    Py_CLEAR(self->abort);
    Py_CLEAR(self->excepted);
    Py_CLEAR(self->emulator);
    Py_CLEAR(self->lost);
    Py_CLEAR(self->on_lost);
    Py_CLEAR(self->former);
    return 0;
}

static void
loop_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    PyObject_GC_UnTrack(object);
    loop_clear(object);
    release(object);
    Py_DECREF(type);
}

#define NUMBER(name, field) {name, T_LONGLONG, offsetof(InnerLoop, field), 0, NULL}
#define FLAG(name, field) {name, T_BOOL, offsetof(InnerLoop, field), 0, NULL}
#define OBJECT(name, field) {name, T_OBJECT, offsetof(InnerLoop, field), 0, NULL}

static PyMemberDef members[] = {
    NUMBER("instructions", instructions),
    NUMBER("_counted", counted),
    NUMBER("_slice", slice),
    NUMBER("_slice_end", slice_end),
    NUMBER("_instruction_time", instruction_time),
    NUMBER("_called_at", called_at),
    NUMBER("_long_quiet", long_quiet),
    NUMBER("_quiet_limit", quiet_limit),
    NUMBER("_tlb", tlb),
    NUMBER("_code", code),
    NUMBER("_generation", generation),
    FLAG("interpreted", interpreted),
    FLAG("_inside", inside),
    FLAG("_going", going),
    FLAG("_kicked", kicked),
    FLAG("_answer", answer),
    FLAG("_fresh", fresh),
    FLAG("_refused", refused),
    OBJECT("_clock", clock),
    OBJECT("_siblings", siblings),
    OBJECT("_stage2", stage2),
    OBJECT("_context", context),
    OBJECT("_trap", trap),
    OBJECT("_dead", dead),
    OBJECT("_error", error),
    OBJECT("_abort", abort),
    OBJECT("_excepted", excepted),
    OBJECT("_emulator", emulator),
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef methods[] = {
    {"run", (PyCFunction)(void (*)(void))loop_run, METH_FASTCALL, NULL},
    {"spend", loop_spend, METH_O, NULL},
    {"end_within", loop_end_within, METH_O, NULL},
    {"kick", loop_kick, METH_NOARGS, NULL},
    {"keep_deadline", loop_keep_deadline, METH_NOARGS, NULL},
    {"_go_on", loop_go_on, METH_NOARGS, NULL},
    {"bind", loop_bind, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The inner loop of a vCPU, between two exits."},
    {Py_tp_traverse, loop_traverse},
    {Py_tp_clear, loop_clear},
    {Py_tp_dealloc, loop_dealloc},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec specification = {
    .name = "ffabric.machine.engines.unicorn.inner_loop._loop.InnerLoop",
    .basicsize = sizeof(InnerLoop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

/* The module --------------------------------------------------------------------------------- */

/* setup(twin, read, write, start, stop): the twin, and the addresses of Unicorn's functions. */
static PyObject *
setup(PyObject *module, PyObject *arguments)
{
    PyObject *type;
    unsigned long long read, write, start, stop;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "OKKKK", &type, &read, &write, &start, &stop))
        return NULL;
    replace(&twin, type);
    uc_read = (batch_function)(uintptr_t)read;
    uc_write = (batch_function)(uintptr_t)write;
    uc_start = (start_function)(uintptr_t)start;
    uc_stop = (stop_function)(uintptr_t)stop;
    return none();
}

static PyMethodDef functions[] = {
    {"setup", setup, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_loop", "The inner loop of a vCPU under Unicorn.", -1, functions,
    NULL, NULL, NULL, NULL,
};

static int
make_names(void)
{
    static const struct {
        PyObject **place;
        const char *text;
    } all[] = {
        {&names.now, "now"},
        {&names.due, "due"},
        {&names.advance, "advance"},
        {&names.x, "x"},
        {&names.generation, "generation"},
        {&names.tlb, "tlb"},
        {&names.code, "code"},
        {&names.flush_tlb, "flush_tlb"},
        {&names.former, "former"},
        {&names.unraisablehook, "unraisablehook"},
        {&names.cannot_run, "_cannot_run"},
        {&names.apply_pending, "_apply_pending"},
        {&names.exception, "_exception"},
        {&names.after, "_after"},
        {&names.step, "_step"},
        {&names.spend, "spend"},
        {&names.go_on, "_go_on"},
        {&names.give_answer, "_give_answer"},
        {&names.keep_deadline, "keep_deadline"},
    };
    size_t n;
    for (n = 0; n < sizeof all / sizeof *all; n++) {
        *all[n].place = PyUnicode_InternFromString(all[n].text);
        if (*all[n].place == NULL)
            return -1;
    }
    sys_module = PyImport_ImportModule("sys");
    return sys_module == NULL ? -1 : 0;
}

PyMODINIT_FUNC
PyInit__loop(void)
{
    PyObject *type, *module = NULL;
    if (make_names())
        return NULL;
    type = PyType_FromSpec(&specification);
    if (type != NULL)
        module = PyModule_Create(&definition);
    if (module != NULL && (PyModule_AddObjectRef(module, "InnerLoop", type) ||
                           PyModule_AddStringConstant(module, "SOURCE", TEXT(SOURCE))))
        Py_CLEAR(module);
    Py_XDECREF(type);
    return module;
}
