if __name__ != "ebmlang.grammar":
    raise ImportError("import this package as ebmlang.grammar")
