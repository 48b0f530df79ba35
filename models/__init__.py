if __name__ != "ebmlang.models":
    raise ImportError("import this package as ebmlang.models")
