"""The command line: thin verbs that call the library, a file for each group of them."""
