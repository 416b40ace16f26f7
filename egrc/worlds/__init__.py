"""What a scale supplies: a base model, problems, a grader and kinds of tokens; one world a module."""
