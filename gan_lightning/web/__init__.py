"""Pages in a browser: what they compute, a file for each kind of model, and their layout, which alone knows Gradio."""
