"""May the candidate replace the champion?"""
