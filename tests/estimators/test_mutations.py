"""The deliberate mistakes of `tests.tools.mutations` fit the source, and the tests notice them."""

from __future__ import annotations

import ast
import functools

import pytest

from tests.tools.mutations import MUTATIONS, ROOT, Mutation, main

each_mutation = pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)


@functools.cache
def functions_in(file: str) -> frozenset[str]:
    """Names of the test functions of a file in ``tests``, read without importing it."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_names_are_unique():
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@each_mutation
def test_a_mutation_has_one_place_in_the_source(mutation: Mutation):
    source = (ROOT / "pes_rl" / mutation.file).read_text()
    assert source.count(mutation.old) == 1
    assert mutation.new != mutation.old


@each_mutation
def test_the_tests_of_a_mutation_exist(mutation: Mutation):
    """By function; the parameters in brackets are known only to pytest, hence to `main`."""
    assert mutation.tests
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in functions_in(file), test


@pytest.mark.slow
def test_every_mutation_is_noticed():
    assert main() == 0
