if __name__ != "ebmlang.compiler":
    raise ImportError("import this package as ebmlang.compiler")
