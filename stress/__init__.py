"""Promises put to the test for longer than the suite can: ``python -m stress.kills``, ``stress.fuzz``,
``stress.memory``, ``stress.processes``, ``stress.estimators``. ``docs/promises.md`` says what they found.
"""
