if __name__ != "ebmlang.runtime":
    raise ImportError("import this package as ebmlang.runtime")
