"""The data doctor, the report on the environment, and the list of runs: what is there, and is it well?"""
