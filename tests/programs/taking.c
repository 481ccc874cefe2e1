/* What libraries in C and Cython do with a communicator that a program hands them. */

#include <mpi4py/mpi4py.h>

/* Returns (is exactly an Intracomm, is an Intracomm, its size), or raises what a library raises that refuses it. */
static PyObject *take(PyObject *self, PyObject *argument) {
    MPI_Comm *comm = PyMPIComm_Get(argument);
    int size = 0;
    if (comm == NULL)
        return NULL;
    if (MPI_Comm_size(*comm, &size) != MPI_SUCCESS)
        return PyErr_Format(PyExc_RuntimeError, "no size");
    return Py_BuildValue("OOi", Py_TYPE(argument) == &PyMPIIntracomm_Type ? Py_True : Py_False,
                         PyObject_TypeCheck(argument, &PyMPIIntracomm_Type) ? Py_True : Py_False, size);
}

static PyMethodDef methods[] = {{"take", take, METH_O, "Look at a communicator."}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "taking", NULL, -1, methods};

PyMODINIT_FUNC PyInit_taking(void) {
    PyObject *made = PyModule_Create(&module);
    if (made == NULL || import_mpi4py() < 0)
        return NULL;
    return made;
}
