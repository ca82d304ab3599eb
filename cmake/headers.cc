// Nothing: what is compiled here are the headers that come before every file.
