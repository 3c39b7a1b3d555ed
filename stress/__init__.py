"""Promises put to the test for longer than the suite can: ``python -m stress.kills``, ``stress.fuzz``,
``stress.memory``, ``stress.processes``, ``stress.estimators``. What they found
stands in ``docs/explanation/promises.md``.
"""
