"""What a value that a person wrote means, and how a wrong one is told. The same in plans, `edit`, settings and the API.

::

    written       text -> number, true, false, null; lengths of time; blanks that look like spaces
    words         the value seen, what is allowed, what was meant; pydantic's errors in our words
    toml_source   one TOML file -> its table; every fault with its line
"""
